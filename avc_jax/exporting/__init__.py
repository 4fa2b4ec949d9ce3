"""The formats that a model is handed out in, one file each, and what they share.

A format is a module here with its name, which has

- `HOLDS`: arrays (a tree of variables, to be used with avc_jax), or programs (functions, to be used without).
- `WITHOUT`: modules that are kept away from the process that reads it back.
- `write(folder, model, programs)`: writes it into a folder.

`use_<name>.py` is shipped beside it: it shows users how to read the format, and it is what reads it back in a process of its
own before an export counts as done (`check.py`). So it imports nothing of avc_jax at its top.
"""
