"""Parts of the generator of conversations: what is felt, what is said and how, what lies on disk, what can be known.

`data_scripts.make_conversations` puts them together into the corpus of curves, for tzirakis2021; chapter `corpora`.
"""
