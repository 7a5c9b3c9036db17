"""What a file is that is no checkpoint: told by its first bytes, in the words of a user of the command line.

Sources: the safetensors format (huggingface.co/docs/safetensors, "Format"), the specification of git-LFS pointers
(github.com/git-lfs/git-lfs, docs/spec.md), APPNOTE.TXT 4.3 for ZIP, and the magic numbers of the formats named below.
"""

from __future__ import annotations

import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile

HEAD = 4096
"""How many bytes from the beginning of a file `foreign` is given."""
_AGAIN = "download or copy it again"
_UNPACK = "archive; unpack it and give the checkpoint inside"
_OTHER = "not a checkpoint of PyTorch"
_STARTS = {
    b"\x1f\x8b": f"is a gzip {_UNPACK}",
    b"BZh": f"is a bzip2 {_UNPACK}",
    b"\xfd7zXZ\0": f"is an xz {_UNPACK}",
    b"(\xb5/\xfd": f"is a Zstandard {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"is a 7z {_UNPACK}",
    b"Rar!": f"is a RAR {_UNPACK}",
    b"\x89HDF": f"is an HDF5 file (Keras, MATLAB), {_OTHER}",
    b"\x93NUMPY": f"is a NumPy array, {_OTHER}",
    b"GGUF": f"is a GGUF file, {_OTHER}",
    b"ftrt": f"is a TensorRT plan, {_OTHER}",
    b"%PDF": f"is a PDF document, {_OTHER}",
    b"\x89PNG": f"is a picture (PNG), {_OTHER}",
    b"\xff\xd8\xff": f"is a picture (JPEG), {_OTHER}",
}
"""First bytes -> what is said of the file."""
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a]")
"""A ModelProto with the ir_version first, as every exporter writes it, and another of its first fields behind."""
_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body|script|\?xml|!--)", re.IGNORECASE)
_POINTER = re.compile(rb"version https://(git-lfs\.github\.com|hawser\.github\.com)/|/?(\.git/)?annex/objects/")
_OLD_PICKLE = re.compile(rb"(\((dp|lp|i)|c[\w.]+\n)")
"""Pickles of the protocols 0 and 1."""
_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What `torch.save` wrote first before version 1.6, behind the two bytes that name the pickle protocol."""
_PICKLE = (
    "is a Python pickle that torch.save did not write, and is not read, since a pickle can run code; save the weights "
    "with torch.save or as .safetensors in the program that made it"
)


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as `.safetensors` do: the length of the header (64 bits, at most 100 MB), then "{"."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= 100_000_000


def foreign(path: Path, head: bytes) -> str | None:
    """What `path` is and what can be done, to follow its name; None where it begins like a file of `torch.save`.

    Raises:
        OSError: the file cannot be read.
    """
    if not head.strip(b"\0"):
        return (
            f"is empty; {_AGAIN}"
            if not head
            else f"begins with zeros alone, as a download that did not finish; {_AGAIN}"
        )
    if head.startswith(b"PK"):
        return _zip(path)
    if head.startswith(b"\x80"):
        return None if head[2:].startswith(_TORCH_MAGIC) else _PICKLE
    said = next((said for start, said in _STARTS.items() if head.startswith(start)), None)
    if head[257:262] == b"ustar":
        said = f"is a tar {_UNPACK}"
    if _ONNX.match(head):
        said = "is an ONNX file, not a checkpoint: enhance and bench take it; export takes what it was made from"
    return said or _text(head) or "is not a checkpoint: neither a file of torch.save nor safetensors"


def _zip(path: Path) -> str | None:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (BadZipFile, ValueError, NotImplementedError):
        return f"is cut short or damaged: its table of contents, at its end, cannot be read; {_AGAIN}"
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return (
            "is a TorchScript archive, which holds a program and is not read: only the weights are needed. Ask for the "
            "state dict (.pth, .safetensors), or save it: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    if "data.pkl" in inside:
        return None
    if any(name.endswith((".pt2", "archive_format", "models/model.json")) for name in names):
        return "is a program of torch.export, not weights; ask for the state dict (.pth, .safetensors)"
    some = ", ".join(ascii(name)[1:-1] for name in names[:3]) + (" and others" if len(names) > 3 else "")
    return f"is a ZIP archive of {some or 'nothing'}, not a checkpoint; unpack it and give the checkpoint inside"


def _text(head: bytes) -> str | None:
    """What a text is; None for bytes that are no text."""
    if _POINTER.match(head):
        return (
            "is a pointer of git-LFS or git-annex, not the weights themselves; fetch them with `git lfs pull` or `git "
            "annex get` in the clone that it is from, or download the file by itself"
        )
    if _OLD_PICKLE.match(head):
        return _PICKLE
    bare = head.removeprefix(b"\xef\xbb\xbf")
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    if _PAGE.match(bare) or (encoding == "utf-16" and _PAGE.match(bare[2:].replace(b"\0", b""))):
        return "is a web page, not a checkpoint: what was downloaded is a question or an error; open it in a browser"
    text = head.decode(encoding, errors="ignore")
    if any(not char.isprintable() and char not in "\t\n\r\f" for char in text) or len(text) < len(head) // 4:
        return None
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (
        f"is a text ({ascii(line[:60])[1:-1]} …), not a checkpoint: perhaps what a server answered in place of the file"
    )
