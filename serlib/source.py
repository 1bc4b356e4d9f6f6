"""Show the source of a function or class in a chapter: the code that runs, never a copy
of it.

Used by all chapters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from IPython.display import Markdown


def show(*objects: Callable | type) -> Markdown:
    """Return the source of functions or classes of serlib as one highlighted listing.

    Raises:
        TypeError: for something that has no source, such as a built-in.
    """
    listing = "\n\n".join(inspect.getsource(thing).rstrip() for thing in objects)
    return Markdown(f"```python\n{listing}\n```")
