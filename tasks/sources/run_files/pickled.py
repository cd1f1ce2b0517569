"""Files of pickle and numpy: refused, since reading a pickle runs its code."""

from pathlib import Path

from tasks.sources.run_files.table import invalid

SUFFIXES = (".pkl", ".pickle")
NUMPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
PICKLES = tuple(b"\x80%c" % protocol for protocol in range(2, 6))
OF_OBJECTS = b"'descr': '|O'"
OBJECTS = "a pickle in an array of numpy, which runs code"
DEFAULT = "default=lambda o: o.item() if hasattr(o, 'item') else vars(o)"


def check(path: Path, data: bytes) -> None:
    """Raise RunFileInvalid for such a file, with the line of Python that makes JSON of it."""
    name = repr(str(path))
    if data.startswith(NUMPY) and OF_OBJECTS in data[:256]:
        what, value = OBJECTS, f"n.load({name}, allow_pickle=True).tolist()"
    elif data.startswith(NUMPY):
        what, value = "an array of numpy", f"{{'accuracy': n.load({name}).tolist()}}"
    elif data.startswith(ZIP) and path.suffix == ".npz":
        loaded = f"n.load({name}, allow_pickle=True).items()"
        what, value = "arrays of numpy", f"{{k: v.tolist() for k, v in {loaded}}}"
    elif path.suffix.lower() in SUFFIXES or data.startswith(PICKLES):
        what, value = "a pickle, which runs code", f"pickle.load(open({name}, 'rb'))"
    else:
        return
    made = f"open({str(path.with_suffix('.json'))!r}, 'w')"
    line = f"import json, pickle, numpy as n; json.dump({value}, {made}, {DEFAULT})"
    fix = f'If you trust it, make JSON of it: python -c "{line}"'
    raise invalid(str(path), f"it is {what}", fix)
