#include "targets/sim_npu/lowering.h"

#include <algorithm>

#include "base/aligned_buffer.h"
#include "format/npu_commands/npu_access.h"
#include "format/plan/plan_cost.h"

namespace cria {
namespace {

constexpr std::uint64_t kFloat = sizeof(float);

// The mode whose tiles weights are stored for.
const MatrixShape* storage_shape(const NpuProfile& profile) {
  for (const MatrixMode mode : {MatrixMode::kA8W4, MatrixMode::kA8W8, MatrixMode::kA16W4,
                                MatrixMode::kA16W8, MatrixMode::kF16}) {
    if (profile.matrix.mode(mode)) return &*profile.matrix.mode(mode);
  }
  return nullptr;
}

}  // namespace

DeviceTiles device_tiles(const NpuProfile& profile) {
  const MatrixShape* shape = storage_shape(profile);
  if (shape == nullptr) return {};
  DeviceTiles tiles;
  tiles.strip_panels = std::clamp<std::uint32_t>(shape->tile_n / kPanelRows, 1, kMaxStripPanels);
  tiles.tile_columns =
      std::clamp<std::uint32_t>((shape->tile_k + kColumnGroup - 1) / kColumnGroup, 1, 64) *
      kColumnGroup;
  return tiles;
}

NpuLowering::NpuLowering(const Plan& plan, const NpuProfile& profile,
                         const NpuLoweringOptions& options, const NpuRoom& room)
    : plan_(plan),
      profile_(profile),
      options_(options),
      room_(room),
      tiles_(device_tiles(profile)),
      emitter_(room.ring_bytes, profile.limits.align_bytes),
      sram_(plan.buffers.size(), kNpuNone),
      is_result_(plan.buffers.size(), false),
      is_fused_(plan.buffers.size(), false),
      imported_(plan.buffers.size(), false),
      mapped_(plan.weights.size(), false),
      mapped_layers_(static_cast<std::size_t>(plan.kv.n_layers), false) {}

Status NpuLowering::run() {
  CRIA_RETURN_IF_ERROR(check_weights());
  NpuCommands& out = emitter_.commands();
  out.profile_name = profile_.name;
  out.max_tokens = plan_.max_tokens;
  out.max_context = options_.max_context;
  out.n_vocab = plan_.n_vocab;
  out.gives_result = plan_.ops.back().kind == PlanOpKind::kOutput;
  out.single_row_result = out.gives_result && is_one_row(plan_.ops.back().x);
  out.cache = {plan_.kv.n_layers, plan_.kv.n_kv_heads, plan_.kv.head_dim, plan_.kv.k_type,
               plan_.kv.v_type};
  for (const std::uint32_t id : plan_.imports) {
    const PlanBuffer& b = plan_.buffers[id];
    out.imports.push_back(
        {b.offset_bytes, static_cast<std::uint64_t>(b.width * rows_of(id)) * kFloat});
  }
  for (const PlanWeight& w : plan_.weights) {
    weights_.push_back({w.key, w.encoding, w.packed, w.n_rows, w.n_cols, tiles_});
  }
  out.weights = weights_;
  CRIA_RETURN_IF_ERROR(find_homes());
  for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
    CRIA_RETURN_IF_ERROR(lower(i).with_context(fmt::format(
        "op {} ({} {})", i, plan_op_name(plan_.ops[i].kind), plan_op_label(plan_, plan_.ops[i]))));
    export_behind(i);
  }
  return {};
}

Status NpuLowering::check_weights() const {
  for (const PlanWeight& w : plan_.weights) {
    if (w.packed) {
      CRIA_RETURN_IF_ERROR(
          check_groups(profile_, w.encoding).with_context(fmt::format("weight {}", w.key)));
    }
    const std::uint64_t bytes =
        npu_weight_bytes({w.key, w.encoding, w.packed, w.n_rows, w.n_cols, tiles_});
    if (bytes > profile_.limits.max_map_bytes) {
      return unsupported("weight {} has {} bytes; {} maps at most {} at once", w.key, bytes,
                         profile_.name, profile_.limits.max_map_bytes);
    }
  }
  return {};
}

// Where each plan buffer lies: in SRAM, in scratch, with the caller, or, between a linear and its
// swiglu, nowhere.
Status NpuLowering::find_homes() {
  std::vector<int> uses(plan_.buffers.size(), 0);
  std::vector<int> made_by_linear(plan_.buffers.size(), 0);
  for (const PlanOp& op : plan_.ops) {
    for (const std::uint32_t id : {op.x, op.y, op.out}) {
      if (id != kNoBuffer) ++uses[id];
    }
    if (op.kind == PlanOpKind::kLinear && !op.accumulate) ++made_by_linear[op.out];
  }
  for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
    if (fuses_with_swiglu(i) && uses[plan_.ops[i].out] == 2) is_fused_[plan_.ops[i].out] = true;
  }
  const PlanOp& last = plan_.ops.back();
  if (last.kind == PlanOpKind::kOutput && uses[last.x] == 2 && made_by_linear[last.x] == 1)
    is_result_[last.x] = true;
  for (std::uint32_t id = 0; id < plan_.buffers.size(); ++id) {
    if (uses[id] == 0 || is_result_[id] || is_fused_[id]) continue;
    const PlanBuffer& buffer = plan_.buffers[id];
    if (room_.in_scratch[id]) continue;
    sram_[id] = emitter_.buffer(buffer.name,
                                stride_of(buffer.width) * static_cast<std::uint64_t>(rows_of(id)));
  }
  const bool any =
      !plan_.imports.empty() || !options_.exported.empty() ||
      std::ranges::any_of(room_.in_scratch, [](bool in_scratch) { return in_scratch; });
  emitter_.commands().scratch_bytes = any ? plan_.scratch_bytes : 0;
  return {};
}

std::uint32_t NpuLowering::plan_buffer_of(std::uint32_t buffer) const {
  const auto found = std::ranges::find(sram_, buffer);
  return found == sram_.end() ? kNoBuffer : static_cast<std::uint32_t>(found - sram_.begin());
}

NpuOp NpuLowering::describe(const PlanOp& op) const {
  return {plan_op_name(op.kind), plan_op_label(plan_, op), plan_op_layer(plan_, op)};
}

Status NpuLowering::lower(std::size_t index) {
  const PlanOp& op = plan_.ops[index];
  temporaries_.clear();
  if (op.kind == PlanOpKind::kSwiGlu && is_fused_[op.x]) return {};  // done with its linear
  emitter_.begin_op(describe(op));
  CRIA_RETURN_IF_ERROR(change_context_if_needed(op));
  import_for(index);
  switch (op.kind) {
    case PlanOpKind::kEmbed:
      return embed(op);
    case PlanOpKind::kRmsNorm:
      return rms_norm(op);
    case PlanOpKind::kLinear:
      return is_fused_[op.out] ? linear_swiglu(op, plan_.ops[index + 1]) : linear(op);
    case PlanOpKind::kHadamard:
      return hadamard(op);
    case PlanOpKind::kRope:
      return rope(op);
    case PlanOpKind::kKvAppend:
      return kv_append(op);
    case PlanOpKind::kAttention:
      return attention(op);
    case PlanOpKind::kScores:
    case PlanOpKind::kMix:
      if (in_sram(op.kind == PlanOpKind::kMix ? op.x : op.out))
        return unsupported("{} has no softmax by itself", profile_.name);
      return attention(op);
    case PlanOpKind::kSoftmax:
      return unsupported("{} has no softmax by itself, only attention as a whole", profile_.name);
    case PlanOpKind::kSwiGlu:
      return swiglu(op);
    case PlanOpKind::kAdd:
      return elementwise(op, NpuCommandKind::kAdd);
    case PlanOpKind::kMul:
      return elementwise(op, NpuCommandKind::kMul);
    case PlanOpKind::kSilu:
      return elementwise(op, NpuCommandKind::kSilu);
    case PlanOpKind::kLastRow:
      return last_row(op);
    case PlanOpKind::kOutput:
      return output(op);
    default:
      return unsupported("{} has no command for it", profile_.name);
  }
}

// A context maps weights and the cache of the layers that its ops use. When the next op's no longer
// fit, a new one begins.
Status NpuLowering::change_context_if_needed(const PlanOp& op) {
  const std::uint64_t fixed = emitter_.commands().scratch_bytes;
  const auto need = [&] {
    std::uint64_t bytes = 0;
    for (const std::uint32_t w : op.weights)
      bytes += mapped_[w] ? 0 : npu_weight_bytes(emitter_.commands().weights[w]);
    if (plan_op_uses_cache(op) && !mapped_layers_[static_cast<std::size_t>(op.layer)]) {
      bytes += static_cast<std::uint64_t>(options_.max_context) * plan_.kv.bytes_per_position() /
               static_cast<std::uint64_t>(plan_.kv.n_layers);
    }
    return bytes;
  };
  if (fixed + mapped_bytes_ + need() > profile_.limits.va_bytes) {
    if (mapped_bytes_ > 0) emitter_.switch_context();
    mapped_.assign(mapped_.size(), false);
    mapped_layers_.assign(mapped_layers_.size(), false);
    mapped_bytes_ = 0;
    angles_.clear();  // their frequencies are mapped again, by whoever needs them
  }
  const std::uint64_t more = need();
  if (fixed + more > profile_.limits.va_bytes) {
    return unsupported("needs {} bytes mapped at once; {} maps at most {}", fixed + more,
                       profile_.name, profile_.limits.va_bytes);
  }
  mapped_bytes_ += more;
  for (const std::uint32_t w : op.weights) {
    if (!mapped_[w])
      emitter_.commands().contexts.back().mapped_bytes +=
          npu_weight_bytes(emitter_.commands().weights[w]);
    mapped_[w] = true;
  }
  if (plan_op_uses_cache(op)) {
    mapped_layers_[static_cast<std::size_t>(op.layer)] = true;
  }
  return {};
}

std::vector<NpuLowering::Block> NpuLowering::blocks(std::int64_t n_rows,
                                                    std::int64_t block_rows) const {
  std::vector<Block> list;
  for (std::int64_t first = 0; first < n_rows; first += block_rows) {
    list.push_back(
        {first, std::min(block_rows, n_rows - first), static_cast<int>(list.size() % 2)});
  }
  return list;
}

// All rows at once where every buffer is in SRAM.
std::vector<NpuLowering::Block> NpuLowering::blocks_of(
    const PlanOp& op, std::initializer_list<std::uint32_t> buffers) const {
  const std::int64_t n_rows = rows_of(op.out == kNoBuffer ? op.x : op.out);
  const bool whole = std::ranges::all_of(
      buffers, [this](std::uint32_t id) { return id == kNoBuffer || in_sram(id); });
  return blocks(n_rows, whole ? n_rows : std::min<std::int64_t>(room_.block_rows, 32));
}

std::uint64_t NpuLowering::stride_of(std::int64_t width) const {
  return align_up(static_cast<std::uint64_t>(width) * kFloat, profile_.limits.align_bytes);
}

std::uint32_t NpuLowering::temporary(const std::string& name, std::uint64_t size_bytes) {
  const auto known = temporaries_.find(name);
  if (known != temporaries_.end() &&
      emitter_.commands().buffers[known->second].size_bytes >= size_bytes) {
    return known->second;
  }
  return temporaries_[name] = emitter_.buffer(name, size_bytes);
}

NpuCommand& NpuLowering::emit_rows(NpuCommandKind kind, NpuEngine engine, const Block& block,
                                   bool one_row) {
  NpuCommand& command = emitter_.emit(kind, engine);
  command.one_row = one_row;
  command.first_row = static_cast<std::uint32_t>(block.first);
  command.n_rows = static_cast<std::uint32_t>(block.n);
  return command;
}

NpuLowering::View NpuLowering::write(std::uint32_t buffer, const Block& block, std::int64_t column,
                                     std::int64_t width, const std::string& role) {
  View view;
  if (in_sram(buffer)) {
    const std::uint64_t stride = stride_of(plan_.buffers[buffer].width);
    view.operand = {sram_[buffer],
                    static_cast<std::uint64_t>(block.first) * stride +
                        static_cast<std::uint64_t>(column) * kFloat,
                    stride};
    return view;
  }
  const std::uint64_t stride = stride_of(width);
  view.operand = {temporary(fmt::format("{}{}", role, block.parity),
                            stride * static_cast<std::uint64_t>(block.n)),
                  0, stride};
  view.is_temporary = true;
  return view;
}

NpuLowering::View NpuLowering::read(std::uint32_t buffer, const Block& block, std::int64_t column,
                                    std::int64_t width, const std::string& role) {
  View view = write(buffer, block, column, width, role);
  if (!view.is_temporary) return view;
  transfer(NpuCommandKind::kLoad, buffer, block, column, width, view.operand);
  return view;
}

void NpuLowering::store(std::uint32_t buffer, const Block& block, std::int64_t column,
                        std::int64_t width, const View& view) {
  if (view.is_temporary)
    transfer(NpuCommandKind::kStore, buffer, block, column, width, view.operand);
}

void NpuLowering::transfer(NpuCommandKind kind, std::uint32_t buffer, const Block& block,
                           std::int64_t column, std::int64_t width, const NpuOperand& sram) {
  const PlanBuffer& b = plan_.buffers[buffer];
  NpuCommand& moved = emit_rows(kind, NpuEngine::kDataDma, block, is_one_row(buffer));
  moved.n_cols = static_cast<std::uint32_t>(width);
  moved.dram_stride = static_cast<std::uint64_t>(b.width) * kFloat;
  moved.to_result = is_result_[buffer];
  moved.dram_offset = (is_result_[buffer] ? 0 : b.offset_bytes) +
                      static_cast<std::uint64_t>(block.first) * moved.dram_stride +
                      static_cast<std::uint64_t>(column) * kFloat;
  (kind == NpuCommandKind::kLoad ? moved.out : moved.x) = sram;
}

void NpuLowering::import_for(std::size_t index) {
  const PlanOp& op = plan_.ops[index];
  for (const std::uint32_t id : plan_.imports) {
    if (!in_sram(id) || imported_[id] || (id != op.x && id != op.y && id != op.out)) continue;
    imported_[id] = true;
    const std::int64_t width = plan_.buffers[id].width;
    transfer(NpuCommandKind::kLoad, id, {0, rows_of(id)}, 0, width,
             {sram_[id], 0, stride_of(width)});
  }
}

void NpuLowering::export_behind(std::size_t index) {
  const std::uint32_t id = plan_.ops[index].out;
  if (id == kNoBuffer || !in_sram(id)) return;
  if (std::ranges::find(options_.exported, id) == options_.exported.end()) return;
  for (std::size_t later = index + 1; later < plan_.ops.size(); ++later) {
    if (plan_.ops[later].out == id) return;
  }
  const std::int64_t width = plan_.buffers[id].width;
  transfer(NpuCommandKind::kStore, id, {0, rows_of(id)}, 0, width,
           {sram_[id], 0, stride_of(width)});
}

namespace {

// The next attempt after one that needed too much; false: there is none.
bool make_room(const Plan& plan, NpuLowering& failed, NpuRoom& room, std::uint64_t least_ring) {
  const std::uint64_t align = failed.emitter().commands().align_bytes;
  const std::uint64_t half_ring = room.ring_bytes / 2 / align * align;
  if (half_ring >= 4 * least_ring) {
    room.ring_bytes = half_ring;
    return true;
  }
  std::uint32_t largest = kNoBuffer;
  std::uint64_t most = 0;
  for (const std::uint32_t id : failed.emitter().crowded()) {
    const std::uint32_t buffer = failed.plan_buffer_of(id);
    if (buffer == kNoBuffer || plan.buffers[buffer].single_row) continue;
    if (failed.emitter().commands().buffers[id].size_bytes <= most) continue;
    most = failed.emitter().commands().buffers[id].size_bytes;
    largest = buffer;
  }
  if (largest != kNoBuffer) {
    room.in_scratch[largest] = true;
    return true;
  }
  if (half_ring >= least_ring) {
    room.ring_bytes = half_ring;
    return true;
  }
  if (room.block_rows > 1) {
    room.block_rows /= 2;
    return true;
  }
  return false;
}

// Whether a buffer that devices share had better stay in scratch: what one op alone needs passes
// through SRAM a block of rows at a time; who makes weights of scores takes them from there; and
// what others write columns of is not this part's to store in whole.
bool stays_in_scratch(const Plan& plan, std::uint32_t id) {
  const bool imported = std::ranges::find(plan.imports, id) != plan.imports.end();
  int n_uses = 0;
  bool in_columns = false;
  for (const PlanOp& op : plan.ops) {
    if (op.x != id && op.y != id && op.out != id) continue;
    const bool score_rows = op.kind == PlanOpKind::kScores ? op.out == id
                            : op.kind == PlanOpKind::kMix  ? op.x == id
                                                           : false;
    if (score_rows) return true;
    if (n_uses++ == 0) in_columns = op.out == id && plan_op_updates(plan, op) && !imported;
  }
  return n_uses < 2 || in_columns;
}

// Two strips of the largest weight: one is multiplied with while the next arrives.
std::uint64_t least_ring_bytes(const Plan& plan, const NpuProfile& profile) {
  std::uint64_t most = profile.limits.align_bytes;
  const DeviceTiles tiles = device_tiles(profile);
  for (const PlanWeight& w : plan.weights) {
    const NpuWeight weight{w.key, w.encoding, w.packed, w.n_rows, w.n_cols, tiles};
    most = std::max(most, w.packed ? npu_panel_bytes(weight, tiles.strip_panels * kPanelRows)
                                   : npu_weight_bytes(weight));
  }
  return align_up(2 * align_up(most, profile.limits.align_bytes), profile.limits.align_bytes);
}

}  // namespace

Result<NpuCommands> lower_to_npu(const Plan& plan, const NpuProfile& profile,
                                 const NpuLoweringOptions& options) {
  NpuRoom room;
  const std::uint64_t least_ring = least_ring_bytes(plan, profile);
  room.ring_bytes = std::max(
      least_ring, profile.sram.bytes / 2 / profile.limits.align_bytes * profile.limits.align_bytes);
  room.block_rows = plan.max_tokens;
  room.in_scratch.assign(plan.buffers.size(), false);
  for (const auto* shared : {&plan.imports, &options.exported}) {
    for (const std::uint32_t id : *shared) room.in_scratch[id] = stays_in_scratch(plan, id);
  }
  for (;;) {
    NpuLowering lowering(plan, profile, options, room);
    CRIA_RETURN_IF_ERROR(lowering.run());
    Result<NpuCommands> commands = lowering.emitter().finish(profile.sram.bytes);
    if (commands.ok() || commands.status().code() != ErrorCode::kOutOfResources) return commands;
    if (make_room(plan, lowering, room, least_ring)) continue;
    return unsupported("{} has {} bytes of SRAM, a row at a time needs {}", profile.name,
                       profile.sram.bytes, lowering.emitter().needed_bytes());
  }
}

}  // namespace cria
