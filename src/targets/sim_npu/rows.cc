// Ops that work row by row.
#include <algorithm>

#include "base/aligned_buffer.h"
#include "format/npu_commands/npu_access.h"
#include "targets/sim_npu/lowering.h"

namespace cria {

// Every token brings its own strip of the table.
Status NpuLowering::embed(const PlanOp& op) {
  const PlanWeight& table = plan_.weights[op.weights[0]];
  const NpuWeight& weight = emitter_.commands().weights[op.weights[0]];
  const std::uint64_t strip = npu_panel_bytes(weight, tiles_.strip_panels * kPanelRows);
  for (const Block& block : blocks_of(op, {op.out})) {
    const View out = write(op.out, block, 0, table.n_cols, "rows");
    for (std::int64_t r = 0; r < block.n; ++r) {
      const auto row = static_cast<std::uint32_t>(block.first + r);
      const NpuOperand loaded = emitter_.load_strip(op.weights[0], row, strip);
      NpuCommand& pick =
          emit_rows(NpuCommandKind::kEmbedRow, NpuEngine::kVector, {block.first + r, 1}, false);
      pick.weight = op.weights[0];
      pick.n_cols = static_cast<std::uint32_t>(table.n_cols);
      pick.x = loaded;
      pick.out = out.operand;
      pick.out.offset += static_cast<std::uint64_t>(r) * out.operand.stride;
    }
    store(op.out, block, 0, table.n_cols, out);
  }
  return {};
}

Status NpuLowering::rms_norm(const PlanOp& op) {
  const std::int64_t width = plan_.buffers[op.x].width;
  for (const Block& block : blocks_of(op, {op.x, op.out})) {
    const View x = read(op.x, block, 0, width, "x");
    const NpuOperand gain =
        emitter_.load_weight(op.weights[0], 0, static_cast<std::uint64_t>(width) * sizeof(float));
    const View out = write(op.out, block, 0, width, "out");
    NpuCommand& norm =
        emit_rows(NpuCommandKind::kRmsNorm, NpuEngine::kVector, block, is_one_row(op.x));
    norm.n_cols = static_cast<std::uint32_t>(width);
    norm.scale = op.epsilon;
    norm.x = x.operand;
    norm.y = gain;
    norm.out = out.operand;
    store(op.out, block, 0, width, out);
  }
  return {};
}

Status NpuLowering::hadamard(const PlanOp& op) {
  const std::int64_t width = plan_.buffers[op.x].width;
  for (const Block& block : blocks_of(op, {op.x, op.out})) {
    const View x = read(op.x, block, 0, width, "x");
    const NpuOperand signs =
        emitter_.load_weight(op.weights[0], 0, static_cast<std::uint64_t>(width) * sizeof(float));
    const View out = write(op.out, block, 0, width, "out");
    NpuCommand& turn =
        emit_rows(NpuCommandKind::kHadamard, NpuEngine::kVector, block, is_one_row(op.x));
    turn.n_cols = static_cast<std::uint32_t>(width);
    turn.n_out = static_cast<std::uint32_t>(op.block);
    turn.inverse = op.inverse;
    turn.x = x.operand;
    turn.y = signs;
    turn.out = out.operand;
    store(op.out, block, 0, width, out);
  }
  return {};
}

// All layers turn by the same angles: the first op of a context computes them.
Status NpuLowering::rope(const PlanOp& op) {
  const std::int64_t half = plan_.kv.head_dim / 2;
  const std::uint64_t stride =
      align_up(static_cast<std::uint64_t>(half) * sizeof(float), kNpuAlignment);
  const std::uint64_t all_rows =
      align_up(stride * static_cast<std::uint64_t>(plan_.max_tokens), kNpuAlignment);
  auto known = angles_.find(op.weights[0]);
  if (known == angles_.end()) {
    const NpuOperand frequencies =
        emitter_.load_weight(op.weights[0], 0, static_cast<std::uint64_t>(half) * sizeof(float));
    known = angles_.emplace(op.weights[0], emitter_.buffer("angles", 2 * all_rows)).first;
    NpuCommand& angles =
        emit_rows(NpuCommandKind::kRopeAngles, NpuEngine::kVector, {0, plan_.max_tokens}, false);
    angles.n_cols = static_cast<std::uint32_t>(half);
    angles.x = frequencies;
    angles.out = {known->second, 0, stride};
    angles.y = {known->second, all_rows, stride};
  }
  const std::int64_t width = op.n_heads * plan_.kv.head_dim;
  for (const Block& block : blocks_of(op, {op.out})) {
    const View heads = read(op.out, block, op.column, width, "heads");
    NpuCommand& turn = emit_rows(NpuCommandKind::kRope, NpuEngine::kVector, block, false);
    turn.n_cols = static_cast<std::uint32_t>(half);
    turn.n_heads = static_cast<std::uint32_t>(op.n_heads);
    turn.x = {known->second, static_cast<std::uint64_t>(block.first) * stride, stride};
    turn.y = {known->second, all_rows + static_cast<std::uint64_t>(block.first) * stride, stride};
    turn.out = heads.operand;
    store(op.out, block, op.column, width, heads);
  }
  return {};
}

Status NpuLowering::elementwise(const PlanOp& op, NpuCommandKind kind) {
  const std::int64_t width = plan_.buffers[op.out].width;
  for (const Block& block : blocks_of(op, {op.x, op.y, op.out})) {
    const View x = read(op.x, block, 0, width, "x");
    View y;
    if (op.y != kNoBuffer) y = read(op.y, block, 0, width, "y");
    const View out = write(op.out, block, 0, width, "out");
    NpuCommand& command = emit_rows(kind, NpuEngine::kVector, block, is_one_row(op.out));
    command.n_cols = static_cast<std::uint32_t>(width);
    command.x = x.operand;
    command.y = y.operand;
    command.out = out.operand;
    store(op.out, block, 0, width, out);
  }
  return {};
}

Status NpuLowering::swiglu(const PlanOp& op) {
  const std::int64_t width = plan_.buffers[op.out].width;
  for (const Block& block : blocks_of(op, {op.x, op.out})) {
    const View gate = read(op.x, block, 0, width, "gate");
    const View up = read(op.x, block, width, width, "up");
    const View out = write(op.out, block, 0, width, "out");
    NpuCommand& command =
        emit_rows(NpuCommandKind::kSwiGlu, NpuEngine::kVector, block, is_one_row(op.out));
    command.n_cols = static_cast<std::uint32_t>(width);
    command.x = gate.operand;
    command.y = up.operand;
    command.out = out.operand;
    store(op.out, block, 0, width, out);
  }
  return {};
}

Status NpuLowering::last_row(const PlanOp& op) {
  const std::int64_t width = plan_.buffers[op.x].width;
  const Block all{0, plan_.max_tokens}, one{0, 1};
  const View out = write(op.out, one, 0, width, "out");
  NpuCommand* command = nullptr;
  if (in_sram(op.x)) {
    command = &emit_rows(NpuCommandKind::kCopyLastRow, NpuEngine::kVector, all, false);
    command->x = {sram_[op.x], 0, stride_of(width)};
  } else {
    command = &emit_rows(NpuCommandKind::kLoad, NpuEngine::kDataDma, all, false);
    command->last_row = true;
    command->dram_stride = static_cast<std::uint64_t>(width) * sizeof(float);
    command->dram_offset = plan_.buffers[op.x].offset_bytes;
  }
  command->n_cols = static_cast<std::uint32_t>(width);
  command->out = out.operand;
  store(op.out, one, 0, width, out);
  return {};
}

Status NpuLowering::output(const PlanOp& op) {
  if (is_result_[op.x]) return {};  // its linear stored it
  for (const Block& block : blocks_of(op, {op.x})) {
    const View x = read(op.x, block, 0, plan_.n_vocab, "x");
    NpuCommand& store =
        emit_rows(NpuCommandKind::kStore, NpuEngine::kDataDma, block, is_one_row(op.x));
    store.n_cols = static_cast<std::uint32_t>(plan_.n_vocab);
    store.dram_stride = static_cast<std::uint64_t>(plan_.n_vocab) * sizeof(float);
    store.dram_offset = static_cast<std::uint64_t>(block.first) * store.dram_stride;
    store.to_result = true;
    store.x = x.operand;
  }
  return {};
}

void NpuLowering::pack_cache(const PlanOp& op, const Block& block, bool is_value) {
  const NpuCache& cache = emitter_.commands().cache;
  const std::int64_t width = std::int64_t{cache.n_kv_heads} * cache.head_dim;
  const View x = read(op.x, block, is_value ? op.column_v : op.column, width, is_value ? "v" : "k");
  const std::uint64_t edge =
      npu_cache_edge_bytes(cache, is_value, static_cast<std::uint64_t>(block.n));
  const std::uint32_t packed =
      temporary(fmt::format("packed_{}{}", is_value ? "v" : "k", block.parity),
                edge * static_cast<std::uint64_t>(cache.n_kv_heads));
  const auto emit = [&](NpuCommandKind kind, NpuEngine engine) -> NpuCommand& {
    NpuCommand& command = emit_rows(kind, engine, block, false);
    command.layer = static_cast<std::uint32_t>(op.layer);
    command.n_heads = static_cast<std::uint32_t>(cache.n_kv_heads);
    command.is_value = is_value;
    return command;
  };
  // A panel has positions of earlier calls, too.
  if (cache.type(is_value) == KvType::kQ8)
    emit(NpuCommandKind::kLoadCacheEdge, NpuEngine::kDataDma).out = {packed, 0, 0};
  NpuCommand& pack = emit(NpuCommandKind::kPackCache, NpuEngine::kVector);
  pack.x = x.operand;
  pack.out = {packed, 0, 0};
  emit(NpuCommandKind::kStoreCache, NpuEngine::kDataDma).x = {packed, 0, 0};
}

Status NpuLowering::kv_append(const PlanOp& op) {
  for (const Block& block : blocks_of(op, {op.x})) {
    pack_cache(op, block, false);
    pack_cache(op, block, true);
  }
  return {};
}

}  // namespace cria
