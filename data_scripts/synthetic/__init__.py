"""The parts of the synthetic corpus: words, sentences, plan, voice, layout, recognition errors, ceilings.

`data_scripts.make_synthetic` puts them together into the book's default corpus, for all five papers; chapter `intro`.
"""
