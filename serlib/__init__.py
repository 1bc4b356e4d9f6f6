"""serlib: the library that the chapters of *Speech Emotion Recognition, Reproduced*
share.

Data flows one way: corpora -> features -> batching -> models -> training -> results ->
plots.
"""

__version__ = "0.1.0"
