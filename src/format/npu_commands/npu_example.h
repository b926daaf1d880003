// A small valid stream, for tests: one product of imported activations.
#pragma once

#include "format/npu_commands/npu_commands.h"

namespace cria {

// result[4, 64] = x[4, 64] * w[64, 64]^T, x float in scratch, w in q4, strips of two panels, half
// of w at a time.
inline NpuCommands example_npu_commands() {
  NpuCommands c;
  c.profile_name = "example";
  c.profile_text = "name = \"example\"";
  c.max_tokens = 4;
  c.n_vocab = 64;
  c.single_row_result = false;
  c.scratch_bytes = 1024;
  c.imports = {{0, 1024}};
  c.weights = {{"w", Encoding::kQ4, true, 64, 64, {2, 32}}};
  c.ops = {{"linear", "blk.0.q", 0}, {"output", "logits", -1}};
  const std::uint64_t half = packed_size_bytes(Encoding::kQ4, 32, 64).value();
  const auto buffer = [&c](const char* name, std::uint64_t bytes, std::uint32_t first,
                           std::uint32_t last) {
    c.buffers.push_back({name, c.sram_bytes, bytes, first, last});
    c.sram_bytes += (bytes + 127) / 128 * 128;
    return static_cast<std::uint32_t>(c.buffers.size() - 1);
  };
  c.align_bytes = 128;
  const std::uint32_t ring = buffer("ring", 2 * half, 0, 6);
  const std::uint32_t x = buffer("x", 1024, 0, 6);
  const std::uint32_t codes = buffer("codes", 256, 0, 6), blocks = buffer("blocks", 64, 0, 6);
  const std::uint32_t out = buffer("out", 1024, 0, 6);
  c.contexts = {{packed_size_bytes(Encoding::kQ4, 64, 64).value()}};
  const auto command = [&c](NpuCommandKind kind, NpuEngine engine) -> NpuCommand& {
    NpuCommand made;
    made.kind = kind;
    made.engine = engine;
    made.n_rows = 4;
    c.commands.push_back(made);
    return c.commands.back();
  };
  for (std::uint64_t i = 0; i < 2; ++i) {
    NpuCommand& load = command(NpuCommandKind::kLoadWeight, NpuEngine::kWeightDma);
    load.weight = 0;
    load.n_bytes = half;
    load.dram_offset = i * half;
    load.out = {ring, i * half, 0};
  }
  NpuCommand& load = command(NpuCommandKind::kLoad, NpuEngine::kDataDma);  // 2
  load.n_cols = 64;
  load.dram_stride = 256;
  load.out = {x, 0, 256};
  NpuCommand& quantize = command(NpuCommandKind::kQuantize, NpuEngine::kVector);  // 3
  quantize.n_cols = 64;
  quantize.x = {x, 0, 256};
  quantize.out = {codes, 0, 0};
  quantize.y = {blocks, 0, 0};
  quantize.after = {2};
  for (std::uint32_t i = 0; i < 2; ++i) {
    NpuCommand& matmul = command(NpuCommandKind::kMatmul, NpuEngine::kMatrix);  // 4, 5
    matmul.weight = 0;
    matmul.first_panel = 2 * i;
    matmul.n_out = 32;
    matmul.n_cols = 64;
    matmul.x = {codes, 0, 0};
    matmul.y = {blocks, 0, 0};
    matmul.z = {ring, i * half, 0};
    matmul.out = {out, i * 128, 256};
    matmul.after = {i, 3};
  }
  NpuCommand& store = command(NpuCommandKind::kStore, NpuEngine::kDataDma);  // 6
  store.op = 1;
  store.n_cols = 64;
  store.dram_stride = 256;
  store.to_result = true;
  store.x = {out, 0, 256};
  store.after = {5};
  return c;
}

}  // namespace cria
