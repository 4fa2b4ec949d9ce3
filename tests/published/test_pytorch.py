"""PyTorch's files: every tensor that torch.save can write comes out, and nothing that they bring along is run."""

import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
import torchfile

from avc_jax import errors
from avc_jax.published import pytorch, read

RNG = np.random.default_rng(0)
KERNEL, BIAS = RNG.normal(size=(4, 3, 2, 2)).astype(np.float32), RNG.normal(size=4).astype(np.float32)


def test_a_state_dict_comes_out_as_it_went_in(tmp_path):
    tree = collections.OrderedDict({"conv.weight": KERNEL, "conv.bias": BIAS, "norm.num_batches_tracked": np.array(7, np.int64)})
    tree._metadata = {"": {"version": 1}}  # as PyTorch leaves there
    found = read.read(torchfile.write(tmp_path / "net.pth", tree))
    assert list(found) == list(tree)
    for name, wanted in tree.items():
        np.testing.assert_array_equal(found[name], wanted)
        assert found[name].dtype == wanted.dtype


def test_a_file_of_pytorch_before_1_6_is_what_its_storages_hold(tmp_path):
    storage = torchfile.Storage(np.arange(12, dtype=np.float32))
    tree = {"epoch": 1, "arch": "resnext-101", "state_dict": collections.OrderedDict({
        "module.kernel": KERNEL, "module.column": torchfile.Tensor(storage.array[1::4], storage=storage, offset=1, stride=(4,)),
        "module.all": torchfile.Tensor(storage.array, storage=storage), "module.steps": np.array(7, np.int64)})}
    found = pytorch.read(torchfile.write_before_1_6(tmp_path / "net.pth", tree))
    assert list(found) == ["kernel", "column", "all", "steps"]
    np.testing.assert_array_equal(found["kernel"], KERNEL)
    np.testing.assert_array_equal(found["column"], [1, 5, 9])
    np.testing.assert_array_equal(found["all"], np.arange(12))
    assert found["steps"] == 7 and found["all"].flags.writeable


def test_parameters_and_views_of_storages_of_early_pytorch_are_read(tmp_path):
    # Written as text, as nobody writes such files any more: a Parameter of a tensor of elements 2..5 of a storage of 6.
    pid = ("(S'storage'\nctorch.cuda\nFloatStorage\nS'0'\nS'cuda:0'\nI6\n(S'0v'\nI2\nI4\ntt", "Q")
    tensor = f"ctorch._utils\n_rebuild_tensor\n({pid[0]}{pid[1]}I0\n(I2\nI2\nt(I2\nI1\nttR"
    pickled = f"(dS'w'\nctorch.nn.parameter\nParameter\n({tensor}tR(I01\nI00\nNtbs."
    heads = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    values = np.arange(6, dtype=np.float32)
    (tmp_path / "net.pth").write_bytes(heads + b"\x80\x02" + pickled.encode() + pickle.dumps(["0"], 2)
                                       + (6).to_bytes(8, "little") + values.tobytes())
    np.testing.assert_array_equal(read.read(tmp_path / "net.pth")["w"], [[2, 3], [4, 5]])


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "uint8", "bool"])
def test_every_kind_of_number_is_read(tmp_path, dtype):
    values = torchfile.bfloat16([[0, 1, 1.5], [2, 3, 0]]).astype(dtype)
    found = pytorch.read(torchfile.write(tmp_path / "net.pth", {"w": values}))["w"]
    np.testing.assert_array_equal(found.astype(np.float32), values.astype(np.float32))
    assert found.dtype == values.dtype


def test_tensors_that_share_a_storage_are_views_of_it(tmp_path):
    storage = torchfile.Storage(np.arange(12, dtype=np.float32))
    matrix = storage.array.reshape(3, 4)
    tree = {"all": torchfile.Tensor(matrix, storage=storage), "empty": np.zeros((0, 3), np.float32),
            "transposed": torchfile.Tensor(matrix.T, storage=storage, stride=(1, 4)),
            "column": torchfile.Tensor(matrix[:, 1], storage=storage, offset=1, stride=(4,))}
    found = pytorch.read(torchfile.write(tmp_path / "net.pth", tree))
    np.testing.assert_array_equal(found["all"], matrix)
    np.testing.assert_array_equal(found["transposed"], matrix.T)
    np.testing.assert_array_equal(found["column"], matrix[:, 1])
    assert found["empty"].shape == (0, 3)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_the_network_is_found_beside_what_its_trainer_kept(tmp_path, key):
    tree = {"epoch": 3, "best": 0.5, key: {"w": KERNEL}, "optimizer": {"state": {0: {"exp_avg": BIAS}}}}
    found = pytorch.read(torchfile.write(tmp_path / "net.tar", tree))
    assert list(found) == ["w"]
    np.testing.assert_array_equal(found["w"], KERNEL)


def test_the_prefix_of_data_parallel_is_dropped_where_all_names_have_it(tmp_path):
    assert set(pytorch.read(torchfile.write(tmp_path / "a.pth", {"module.w": KERNEL, "module.b": BIAS}))) == {"w", "b"}
    assert set(pytorch.read(torchfile.write(tmp_path / "b.pth", {"module.w": KERNEL, "b": BIAS}))) == {"module.w", "b"}


class Code:
    """What pickle makes of an object that wants to be called when it is loaded."""

    def __init__(self, function, *args):
        self._call = (function, args)

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize(("function", "args"), [(os.system, ("touch {}",)), (eval, ("open('{}', 'w')",)), (print, ("{}",)),
                                                (open, ("{}", "w"))])
@pytest.mark.parametrize("write", [torchfile.write, torchfile.write_before_1_6])
def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path, write, function, args):
    trace = tmp_path / "trace"
    path = write(tmp_path / "net.pth", {"w": KERNEL, "x": Code(function, *(arg.format(trace) for arg in args))})
    with pytest.raises(errors.DataError, match=rf"net\.pth is refused: its pickle asks for \w+\.{function.__name__}"):
        pytorch.read(path)
    assert not trace.exists()


def test_a_whole_module_is_refused_by_its_class(tmp_path):
    path = torchfile.write(tmp_path / "net.pth", {"w": errors.BadMedia})
    with pytest.raises(errors.DataError, match=r"asks for avc_jax\.errors\.BadMedia.*save the state_dict"):
        pytorch.read(path)


def test_code_is_refused_also_where_it_is_asked_for_by_the_name_of_an_attribute(tmp_path):
    # Protocol 4 may name a.b.c in one go; the admitted names are compared whole.
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text for text in (b"collections", b"OrderedDict.__init__.__globals__"))
    body = b"\x80\x04" + texts + b"\x93."
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("archive/data.pkl", body)
    with pytest.raises(errors.DataError, match="is refused"):
        pytorch.read(tmp_path / "net.pth")


@pytest.mark.parametrize(("offset", "stride"), [(0, (4, 2)), (3, (4, 1)), (-1, (4, 1)), (0, (-4, 1))])
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(tmp_path, offset, stride):
    storage = torchfile.Storage(np.zeros(12, np.float32))
    tensor = torchfile.Tensor(np.zeros((3, 4), np.float32), storage=storage, offset=offset, stride=stride)
    with pytest.raises(errors.DataError, match="is damaged: a tensor reaches to element"):
        pytorch.read(torchfile.write(tmp_path / "net.pth", {"w": tensor}))


def test_a_file_that_holds_no_tensors_says_what_it_holds(tmp_path):
    with pytest.raises(errors.DataError, match="holds no state dict, found: epoch, args"):
        pytorch.read(torchfile.write(tmp_path / "net.pth", {"epoch": 1, "args": {"lr": 0.1}}))
    with pytest.raises(errors.DataError, match="holds no state dict, found: list"):
        pytorch.read(torchfile.write(tmp_path / "net.pth", [KERNEL]))


def test_a_damaged_file_is_refused_in_words(tmp_path):
    path = torchfile.write(tmp_path / "net.pth", {"w": KERNEL})
    whole = path.read_bytes()
    start = whole.index(KERNEL.tobytes())
    path.write_bytes(whole[:start] + b"\0\0\0\1" + whole[start + 4:])
    with pytest.raises(errors.DataError, match="cannot be read as a PyTorch checkpoint"):
        pytorch.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": 1}, protocol=2)[:-3])
    with pytest.raises(errors.DataError, match="cannot be read as a PyTorch checkpoint"):
        pytorch.read(path)


def test_a_file_of_a_machine_with_another_byte_order_is_refused(tmp_path):
    path = torchfile.write(tmp_path / "net.pth", {"w": KERNEL}, extra={"byteorder": b"big"})
    before = torchfile.write_before_1_6(tmp_path / "old.pth", {"w": KERNEL}, little_endian=False)
    for one in (path, before):
        with pytest.raises(errors.DataError, match="byte order of another machine"):
            pytorch.read(one)
    assert "w" in pytorch.read(torchfile.write(tmp_path / "own.pth", {"w": KERNEL}, extra={"byteorder": b"little"}))
