// What commands compute, run after run. A stream that the verifier took gives the same in any order
// that its dependencies allow, so also in that of the list.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "delegates/sim_npu/sim_npu_method.h"
#include "format/npu_commands/npu_access.h"
#include "kernels/attention/split.h"
#include "tensor/packing.h"

namespace cria {
namespace {

constexpr std::int64_t kPanelsPerTask = 16;

static_assert(kNpuRecord == spec::kRecordFloats && kNpuCacheTile == spec::kAttentionTile &&
              kNpuStateSums == spec::kAttentionSums);

// The state of one row and head: largest score, factors of the last step, what makes scores of
// products, sums, values.
struct AttendState {
  float* raw;
  float& top() const { return raw[0]; }
  float& shrink() const { return raw[1]; }
  float& grow() const { return raw[2]; }
  float& factor() const { return raw[3]; }
  float* sum() const { return raw + 4; }
  float* acc() const { return raw + 4 + kNpuStateSums; }
};

}  // namespace

void SimNpuMethod::run(const SimNpuRun& run, const SimNpuCall& call) {
  if (run.n_rows == 0) return;
  switch (run.command.kind) {
    case NpuCommandKind::kLoadWeight:
    case NpuCommandKind::kLoadStrip:
      return transfer(run, call);
    case NpuCommandKind::kLoad:
    case NpuCommandKind::kStore:
      return transfer_rows(run, call);
    case NpuCommandKind::kLoadCache:
    case NpuCommandKind::kLoadCacheEdge:
    case NpuCommandKind::kStoreCache:
      return transfer_cache(run, call);
    case NpuCommandKind::kStoreScores:
    case NpuCommandKind::kLoadScores:
      return transfer_scores(run, call);
    case NpuCommandKind::kMatmul:
      return matmul(run);
    case NpuCommandKind::kScores:
    case NpuCommandKind::kSoftmax:
    case NpuCommandKind::kMix:
    case NpuCommandKind::kAttendBegin:
    case NpuCommandKind::kAttendEnd:
      return attend(run, call);
    case NpuCommandKind::kSwitchContext:
      return;
    default:
      return vector(run, call);
  }
}

void SimNpuMethod::transfer(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  const std::span<const std::byte> from = weights_[c.weight];
  std::uint64_t offset = c.dram_offset, bytes = c.n_bytes;
  if (c.kind == NpuCommandKind::kLoadStrip) {
    const NpuWeight& w = commands_.weights[c.weight];
    const std::int64_t strip_rows = std::int64_t{w.tiles.strip_panels} * kPanelRows;
    bytes = npu_panel_bytes(w, static_cast<std::uint32_t>(strip_rows));
    offset = static_cast<std::uint64_t>(call.tokens[c.first_row] / strip_rows) * bytes;
    bytes = std::min(bytes, from.size() - offset);
  }
  std::memcpy(at(c.out), from.data() + offset, bytes);
}

void SimNpuMethod::transfer_rows(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  std::byte* dram = c.to_result ? reinterpret_cast<std::byte*>(call.logits) : call.scratch;
  const std::uint64_t row_bytes = std::uint64_t{c.n_cols} * sizeof(float);
  const NpuOperand& operand = c.kind == NpuCommandKind::kLoad ? c.out : c.x;
  const std::uint64_t stride = operand.stride == 0 ? row_bytes : operand.stride;
  const std::int64_t first = c.last_row ? run.n_rows - 1 : 0;
  for (std::int64_t r = first; r < run.n_rows; ++r) {
    std::byte* there = dram + c.dram_offset + static_cast<std::uint64_t>(r) * c.dram_stride;
    std::byte* here = at(operand) + static_cast<std::uint64_t>(r - first) * stride;
    c.kind == NpuCommandKind::kLoad ? std::memcpy(here, there, row_bytes)
                                    : std::memcpy(there, here, row_bytes);
  }
}

std::byte* SimNpuMethod::kv_head(const SimNpuCall& call, std::uint32_t layer, std::int64_t head,
                                 bool is_value) const {
  const NpuCache& kv = commands_.cache;
  const std::int64_t k_bytes = call.n_ctx * kv.row_bytes(false),
                     v_bytes = call.n_ctx * kv.row_bytes(true);
  std::byte* keys = call.kv + std::int64_t{layer} * kv.n_kv_heads * (k_bytes + v_bytes);
  return is_value ? keys + kv.n_kv_heads * k_bytes + head * v_bytes : keys + head * k_bytes;
}

void SimNpuMethod::transfer_cache(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  const NpuCache& cache = commands_.cache;
  const std::int64_t granule = kv_granularity(cache.type(c.is_value)),
                     row_bytes = cache.row_bytes(c.is_value);
  std::int64_t first = 0, n = 0;
  std::uint64_t head_bytes = npu_cache_edge_bytes(cache, c.is_value, c.n_rows);
  if (c.kind == NpuCommandKind::kLoadCache) {
    head_bytes = npu_cache_tile_bytes(cache, c.is_value);
    first = run.tile.first;
    n = (run.tile.n + granule - 1) / granule * granule;
  } else {
    const std::int64_t begin = call.position + c.first_row;
    first = begin / granule * granule;
    n = (begin + run.n_rows - first + granule - 1) / granule * granule;
  }
  if (n == 0) return;
  const NpuOperand& operand = c.kind == NpuCommandKind::kStoreCache ? c.x : c.out;
  for (std::int64_t h = 0; h < c.n_heads; ++h) {
    std::byte* there = kv_head(call, c.layer, c.first_head + h, c.is_value) + first * row_bytes;
    std::byte* here = at(operand) + static_cast<std::uint64_t>(h) * head_bytes;
    const auto bytes = static_cast<std::size_t>(n * row_bytes);
    c.kind == NpuCommandKind::kStoreCache ? std::memcpy(there, here, bytes)
                                          : std::memcpy(here, there, bytes);
  }
}

// Every head of every row has the tile's record at the same place among its own.
void SimNpuMethod::transfer_scores(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  if (run.tile.n == 0) return;
  constexpr std::uint64_t kRecordBytes = kNpuRecord * sizeof(float);
  const std::uint64_t heads = std::uint64_t{c.n_heads} * c.group;
  const std::uint64_t head_bytes = c.n_cols / heads * sizeof(float);
  const auto tile = static_cast<std::uint64_t>(run.tile.first / kNpuCacheTile);
  const bool stores = c.kind == NpuCommandKind::kStoreScores;
  std::byte* here = at(stores ? c.x : c.out);
  for (std::uint64_t r = 0; r < static_cast<std::uint64_t>(run.n_rows); ++r) {
    std::byte* there = call.scratch + c.dram_offset + r * c.dram_stride + tile * kRecordBytes;
    for (std::uint64_t h = 0; h < heads; ++h, here += kRecordBytes, there += head_bytes)
      stores ? std::memcpy(there, here, kRecordBytes) : std::memcpy(here, there, kRecordBytes);
  }
}

// Strips as kernels read them. The device reads its own order; this is not part of its time.
const std::byte* SimNpuMethod::panels_of(const NpuWeight& weight, const std::byte* strips,
                                         std::size_t size_bytes) {
  if (weight.tiles.strip_panels == 1) return strips;
  const std::size_t strip = npu_panel_bytes(weight, weight.tiles.strip_panels * kPanelRows);
  for (std::size_t done = 0; done < size_bytes; done += strip) {
    const std::size_t n = std::min(strip, size_bytes - done);
    from_device_strip(weight.tiles, weight.encoding, weight.n_cols, {strips + done, n},
                      {panels_ + done, n});
  }
  return panels_;
}

void SimNpuMethod::matmul(const SimNpuRun& run) {
  const NpuCommand& c = run.command;
  const NpuWeight& w = commands_.weights[c.weight];
  const auto panel = static_cast<std::int64_t>(npu_panel_bytes(w, kPanelRows));
  const std::byte* panels = panels_of(w, at(c.z), npu_panel_bytes(w, c.n_out));
  struct Work {
    SimNpuMethod& self;
    const NpuCommand& c;
    const NpuWeight& w;
    const std::byte* panels;
    std::int64_t panel, n_rows;
    void part(std::int64_t index) const {
      const std::int64_t first = index * kPanelsPerTask * kPanelRows;
      const std::int64_t n = std::min<std::int64_t>(kPanelsPerTask * kPanelRows, c.n_out - first);
      const std::byte* from = panels + first / kPanelRows * panel;
      const auto stride = static_cast<std::int64_t>(
          (c.out.stride == 0 ? c.n_out * sizeof(float) : c.out.stride) / sizeof(float));
      float* out = self.floats(c.out) + first;
      if (c.float_input) {
        const auto x_stride = static_cast<std::int64_t>(
            (c.x.stride == 0 ? c.n_cols * sizeof(float) : c.x.stride) / sizeof(float));
        return self.kernels_.linear_a16({w.encoding, from, n, w.n_cols, self.floats(c.x), x_stride,
                                         n_rows, out, stride, c.accumulate});
      }
      self.kernels_.linear_a8(
          {w.encoding, from, n, w.n_cols, reinterpret_cast<const std::int8_t*>(self.at(c.x)),
           reinterpret_cast<const A8Block*>(self.at(c.y)), n_rows, out, stride, c.accumulate});
    }
  };
  Work work{*this, c, w, panels, panel, run.n_rows};
  const std::int64_t n_tasks =
      (c.n_out + kPanelsPerTask * kPanelRows - 1) / (kPanelsPerTask * kPanelRows);
  if (n_tasks == 1) return work.part(0);
  host_.parallel_for(
      host_.context, n_tasks,
      [](void* argument, int64_t index, int32_t) { static_cast<Work*>(argument)->part(index); },
      &work);
}

// The steps of attention/generic.h, each where its command is.
void SimNpuMethod::attend(const SimNpuRun& run, const SimNpuCall& call) {
  using enum NpuCommandKind;
  const NpuCommand& c = run.command;
  const NpuCache& cache = commands_.cache;
  const std::int64_t head_dim = cache.head_dim, heads = std::int64_t{c.n_heads} * c.group;
  const auto state_floats = static_cast<std::int64_t>(npu_state_floats(head_dim));
  const NpuOperand& state_at = c.kind == kSoftmax ? c.y : c.kind == kAttendEnd ? c.x : c.out;
  const NpuOperand& scores_at = c.kind == kScores ? c.out : c.kind == kSoftmax ? c.x : c.y;
  AttentionArgs args{};
  args.head_dim = head_dim;
  args.k_type = cache.k_type;
  args.v_type = cache.v_type;
  args.scale = c.scale;
  for (std::int64_t i = 0; i < run.n_rows * heads; ++i) {
    const std::int64_t row = i / heads, head = i % heads;
    const AttendState state{c.kind == kScores ? nullptr : floats(state_at) + i * state_floats};
    if (c.kind == kAttendBegin) {
      std::fill_n(state.raw, state_floats, 0.0f);
      state.top() = -std::numeric_limits<float>::infinity();
      if (!c.records) {
        state.factor() = spec::AttentionQuery(args, floats(c.x, row) + head * head_dim).factor;
      }
      continue;
    }
    if (c.kind == kAttendEnd) {
      float* out = floats(c.out, row) + head * head_dim;
      spec::divide_by_sum(state.acc(), spec::sum_of_weights(state.sum()), head_dim, out);
      continue;
    }
    const int n = spec::n_in_tile(call.position + c.first_row + row + 1, run.tile.first);
    if (n == 0) continue;
    float* p = floats(scores_at) + i * (c.records ? kNpuRecord : kNpuCacheTile);
    if (c.kind == kSoftmax) {
      const spec::TileFactors factors =
          spec::weigh_scores(cache.v_type, state.factor(), p, n, state.top(), state.sum());
      state.shrink() = factors.shrink;
      state.grow() = factors.grow;
      continue;
    }
    args.k = args.v = at(c.z) + static_cast<std::uint64_t>(head / c.group) *
                                    npu_cache_tile_bytes(cache, c.is_value);
    if (c.kind == kScores) {
      const spec::AttentionQuery q(args, floats(c.x, row) + head * head_dim);
      spec::score_positions(args, q, 0, n, p);
      if (c.records) p[spec::kRecordFactor] = q.factor;
      continue;
    }
    if (c.records) {
      state.shrink() = p[spec::kRecordShrink];
      state.grow() = p[spec::kRecordGrow];
      state.sum()[0] = p[spec::kRecordSum];
    }
    spec::add_values(args, p, 0, n, {state.shrink(), state.grow()}, state.acc());
  }
}

void SimNpuMethod::embed(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  const NpuWeight& w = commands_.weights[c.weight];
  const std::int64_t strip_rows = std::int64_t{w.tiles.strip_panels} * kPanelRows;
  const std::int64_t token = call.tokens[c.first_row], first = token / strip_rows * strip_rows;
  const std::uint64_t bytes =
      npu_panel_bytes(w, static_cast<std::uint32_t>(std::min(strip_rows, w.n_rows - first)));
  const std::byte* panels = panels_of(w, at(c.x), bytes);
  decode_packed_row(w.encoding, {panels, bytes}, w.n_cols, token - first,
                    {floats(c.out), c.n_cols});
}

void SimNpuMethod::rope_angles_of(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  for (std::int64_t r = 0; r < run.n_rows; ++r) {
    rope_angles(call.position + c.first_row + r, floats(c.x), c.n_cols, floats(c.out, r),
                floats(c.y, r));
  }
}

void SimNpuMethod::rope(const SimNpuRun& run) {
  const NpuCommand& c = run.command;
  for (std::int64_t r = 0; r < run.n_rows; ++r) {
    kernels_.rope({floats(c.out, r), 0, 1, c.n_heads, 2 * std::int64_t{c.n_cols}, floats(c.x, r),
                   floats(c.y, r)});
  }
}

void SimNpuMethod::pack_cache(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  const NpuCache& cache = commands_.cache;
  const std::int64_t head_dim = cache.head_dim, begin = call.position + c.first_row;
  const std::uint64_t head_bytes = npu_cache_edge_bytes(cache, c.is_value, c.n_rows);
  for (std::int64_t r = 0; r < run.n_rows; ++r) {
    for (std::int64_t h = 0; h < c.n_heads; ++h) {
      const float* x = floats(c.x, r) + h * head_dim;
      std::byte* head = at(c.out) + static_cast<std::uint64_t>(h) * head_bytes;
      if (cache.type(c.is_value) == KvType::kF16) {
        kernels_.store_f16({x, reinterpret_cast<std::uint16_t*>(head) + r * head_dim, head_dim});
        continue;
      }
      const std::int64_t panel = (begin + r) / kKvPanel - begin / kKvPanel;
      kernels_.store_q8(
          {x, head_dim, begin + r, head + panel * kv_panel_bytes(head_dim), c.is_value});
    }
  }
}

void SimNpuMethod::vector(const SimNpuRun& run, const SimNpuCall& call) {
  const NpuCommand& c = run.command;
  const std::int64_t n_cols = c.n_cols;
  switch (c.kind) {
    case NpuCommandKind::kQuantize:
      return kernels_.quantize_a8(
          {floats(c.x), static_cast<std::int64_t>(c.x.stride / sizeof(float)), run.n_rows, 0,
           run.n_rows, n_cols, reinterpret_cast<std::int8_t*>(at(c.out)),
           reinterpret_cast<A8Block*>(at(c.y))});
    case NpuCommandKind::kRopeAngles:
      return rope_angles_of(run, call);
    case NpuCommandKind::kRope:
      return rope(run);
    case NpuCommandKind::kEmbedRow:
      return embed(run, call);
    case NpuCommandKind::kPackCache:
      return pack_cache(run, call);
    case NpuCommandKind::kCopyLastRow:
      std::copy_n(floats(c.x, run.n_rows - 1), n_cols, floats(c.out));
      return;
    default:
      break;
  }
  for (std::int64_t r = 0; r < run.n_rows; ++r) {
    const float* x = floats(c.x, r);
    float* out = floats(c.out, r);
    const float* y = c.y.buffer == kNpuNone ? nullptr : floats(c.y, r);
    switch (c.kind) {
      case NpuCommandKind::kRmsNorm:
        kernels_.rms_norm({x, n_cols, 1, n_cols, floats(c.y), c.scale, out, n_cols});
        break;
      case NpuCommandKind::kHadamard:
        kernels_.hadamard({x, n_cols, 1, n_cols, c.n_out, floats(c.y), c.inverse, out, n_cols});
        break;
      case NpuCommandKind::kSwiGlu:
        kernels_.swiglu({x, y, n_cols, 1, n_cols, out, n_cols});
        break;
      case NpuCommandKind::kAdd:
        kernels_.add({x, y, out, n_cols});
        break;
      case NpuCommandKind::kMul:
        kernels_.mul({x, y, out, n_cols});
        break;
      default:
        kernels_.silu({x, out, n_cols});
    }
  }
}

}  // namespace cria
