"""Writes a Hugging Face folder in the layouts of AutoAWQ, GPTQ and EXL2, and as the floats that it then stands for.

Rounding is plain (round to nearest within a group of columns), the layouts are as their authors describe them. Nothing here
is shared with cria's readers.
"""

import array
import json
import math
import pathlib
import random
import shutil
import struct

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def half(x):
    """The nearest half float."""
    return struct.unpack("<e", struct.pack("<e", x))[0]


def pack(codes, bits):
    """Codes as a stream of bits, lowest first."""
    text = "".join(format(code, f"0{bits}b") for code in reversed(codes))
    return int(text, 2).to_bytes(len(codes) * bits // 8, "little")


def halves(values):
    return struct.pack(f"<{len(values)}e", *values)


def columns_of_words(rows):
    """Byte strings, each the words of one column -> the row-major bytes of the matrix."""
    n = len(rows)
    words = array.array("I", bytes(sum(map(len, rows))))
    for i, row in enumerate(rows):
        words[i::n] = array.array("I", row)
    return words.tobytes()


class Checkpoint:
    """A folder's tensors: name -> (dtype, shape, bytes)."""

    def __init__(self, folder):
        data = (folder / "model.safetensors").read_bytes()
        n = struct.unpack_from("<Q", data)[0]
        self.folder = folder
        self.tensors = {}
        for name, info in json.loads(data[8 : 8 + n]).items():
            if name != "__metadata__":
                begin, end = info["data_offsets"]
                self.tensors[name] = (info["dtype"], info["shape"], data[8 + n + begin : 8 + n + end])

    def rows(self, name):
        """A bfloat16 matrix as a list of rows of floats."""
        dtype, (n_rows, n_cols), data = self.tensors[name]
        assert dtype == "BF16", name
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[0::2], data[1::2]
        floats = array.array("f", bytes(wide)).tolist()
        return [floats[r * n_cols : (r + 1) * n_cols] for r in range(n_rows)]

    def linears(self):
        return [name[: -len(".weight")] for name in self.tensors if name.endswith("_proj.weight")]


def write_folder(source, out, tensors, quantization_config=None):
    """The folder `source` with other weights, and what it says of them."""
    out.mkdir()
    for file in source.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, out)
    config = json.loads((source / "config.json").read_text())
    if quantization_config:
        config["quantization_config"] = quantization_config
    (out / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    (out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))
    return out


class Grouped:
    """w[r][k] = (codes[r][k] - zeros[g][r]) * scales[g][r], g = group_of[k]."""

    def __init__(self, rows, bits, group_size, symmetric=False, shuffled=None):
        n_cols = len(rows[0])
        order = list(range(n_cols))
        if shuffled is not None:
            random.Random(shuffled).shuffle(order)
        self.bits, self.group_of = bits, [0] * n_cols
        self.codes = [[0] * n_cols for _ in rows]
        self.zeros, self.scales = [], []
        for begin in range(0, n_cols, group_size):
            columns = order[begin : begin + group_size]
            for k in columns:
                self.group_of[k] = len(self.scales)
            made = [self.round_group([row[k] for k in columns], symmetric) for row in rows]
            self.scales.append([scale for scale, _, _ in made])
            self.zeros.append([zero for _, zero, _ in made])
            for row, (_, _, codes) in zip(self.codes, made):
                for k, code in zip(columns, codes):
                    row[k] = code

    def round_group(self, weights, symmetric):
        top = (1 << self.bits) - 1
        low, high = min(0.0, *weights), max(0.0, *weights)
        if symmetric:
            scale, zero = half(max(-low, high, 1e-6) / (top // 2)), (top + 1) // 2
        else:
            scale = half(max(high - low, 1e-6) / top)
            zero = min(top, round(-low / scale))
        return scale, zero, [min(top, max(0, round(w / scale) + zero)) for w in weights]

    def floats(self):
        groups = list(zip(self.scales, self.zeros))
        return [[(code - groups[g][1][r]) * groups[g][0][r] for code, g in zip(row, self.group_of)]
                for r, row in enumerate(self.codes)]

    def gptq(self, module, version):
        n_rows, n_cols, bits = len(self.codes), len(self.group_of), self.bits
        stored = self.zeros if version == 2 else [[(z - 1) % (1 << bits) for z in line] for line in self.zeros]
        return {
            f"{module}.qweight": ("I32", [n_cols * bits // 32, n_rows], columns_of_words([pack(row, bits) for row in self.codes])),
            f"{module}.qzeros": ("I32", [len(stored), n_rows * bits // 32], b"".join(pack(line, bits) for line in stored)),
            f"{module}.scales": ("F16", [len(stored), n_rows], b"".join(halves(line) for line in self.scales)),
            f"{module}.g_idx": ("I32", [n_cols], struct.pack(f"<{n_cols}i", *self.group_of)),
        }

    def awq(self, module):
        n_rows, n_cols = len(self.codes), len(self.group_of)

        def words(line):
            return pack([line[c + i] for c in range(0, n_rows, 8) for i in AWQ_ORDER], 4)

        return {
            f"{module}.qweight": ("I32", [n_cols, n_rows // 8], b"".join(map(words, zip(*self.codes)))),
            f"{module}.qzeros": ("I32", [len(self.zeros), n_rows // 8], b"".join(map(words, self.zeros))),
            f"{module}.scales": ("F16", [len(self.scales), n_rows], b"".join(halves(line) for line in self.scales)),
        }


class Exl2:
    """w[r][k] = (code - 2^(bits-1)) * scale, where scale = (root + 1)^2 * largest / 256 in half floats."""

    def __init__(self, rows, widths, shuffled=None):
        """`widths`: (bits, columns) of each group, most important first."""
        self.n_rows, n_cols = len(rows), len(rows[0])
        self.order = list(range(n_cols))  # packed column -> column
        if shuffled is not None:
            random.Random(shuffled).shuffle(self.order)
        self.groups, self.dequantized, begin = [], [[0.0] * n_cols for _ in rows], 0
        for bits, n in widths:
            self.groups.append(self.round_group(rows, self.order[begin : begin + n], bits))
            begin += n
        assert begin == n_cols

    def round_group(self, rows, columns, bits):
        middle = 1 << (bits - 1)
        slices = [[row[k] for k in columns] for row in rows]
        wanted = [max(max(map(abs, weights)), 1e-6) / max(middle - 1, 1) for weights in slices]
        largest = half(max(wanted))
        roots, codes = [], []
        for r, weights in enumerate(slices):
            root = min(15, max(0, math.ceil(math.sqrt(wanted[r] / largest * 256)) - 1))
            scale = half((root + 1) ** 2 * half(largest / 256))
            line = [min(2 * middle - 1, max(0, round(w / scale) + middle)) for w in weights]
            for k, code in zip(columns, line):
                self.dequantized[r][k] = (code - middle) * scale
            roots.append(root)
            codes.append(line)
        return bits, largest, roots, codes

    def floats(self):
        return self.dequantized

    def exl2(self, module, short=False):
        padding = -self.n_rows % 32
        weight, scales, groups, n_words = b"", b"", [], 0
        for bits, _, roots, codes in self.groups:
            groups += [bits, n_words]
            words = [pack(line, bits) for line in codes]
            words += [bytes(len(words[0]))] * padding
            weight += columns_of_words(words)
            scales += pack(roots + [0] * padding, 4)
            n_words += len(words[0]) // 4
        inverse = [0] * len(self.order)
        for packed, column in enumerate(self.order):
            inverse[column] = packed
        n, n_padded = len(self.groups), self.n_rows + padding
        return {
            f"{module}.q_weight": ("I32", [n_words, n_padded], weight),
            f"{module}.q_scale": ("I32", [n, n_padded // 8], scales),
            f"{module}.q_scale_max": ("F16", [n], halves([largest for _, largest, _, _ in self.groups])),
            f"{module}.q_groups": ("I16", [2 * n], struct.pack(f"<{2 * n}h", *groups)),
            f"{module}.q_invperm": ("I16" if short else "I32", [len(inverse)],
                                    struct.pack(f"<{len(inverse)}{'h' if short else 'i'}", *inverse)),
        }


def with_linears(checkpoint, tensors_of):
    """All tensors of the checkpoint, with tensors_of(module) in place of each linear."""
    tensors = {}
    for name, tensor in checkpoint.tensors.items():
        if name.endswith("_proj.weight"):
            tensors.update(tensors_of(name[: -len(".weight")]))
        else:
            tensors[name] = tensor
    return tensors


def float_tensor(module, rows):
    data = b"".join(array.array("f", row).tobytes() for row in rows)
    return {f"{module}.weight": ("F32", [len(rows), len(rows[0])], data)}
