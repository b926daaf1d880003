#include "npu_sim/npu_cost.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "format/npu_commands/npu_access.h"

namespace cria {
namespace {

constexpr double kFloat = sizeof(float);

double ceil_div(double a, double b) { return std::ceil(a / b); }

// More than any call may take (kMostCallPicoseconds) stays more.
Picoseconds whole_ps(double ps) {
  return static_cast<Picoseconds>(
      std::ceil(std::min(ps, 2.0 * static_cast<double>(kMostCallPicoseconds))));
}

Picoseconds from_cycles(double cycles, double mhz) { return whole_ps(cycles * 1e6 / mhz); }

// A product [m, k] x [n, k]^T, `count` of them.
struct Product {
  double m = 0, n = 0, k = 0, count = 1;
  double macs() const { return m * n * k * count; }
};

// Vectors' worth of cycles that a kind takes for each element (all rows and columns) and for each
// row; how often it starts the contexts, each pass waiting for the last of the one before; query
// heads that it sets up.
struct VectorCost {
  double elements = 0, cycles_each = 0;  // cycles a vector
  double rows = 0, cycles_row = 0;       // cycles a row, on one context
  double passes = 1;
  double heads = 0;
};

VectorCost vector_cost(const NpuCommand& c, const NpuCache& cache, const VectorCycles& v,
                       const NpuRunShape& s) {
  const auto rows = static_cast<double>(s.n_rows);
  const double elements = rows * c.n_cols;
  const double heads = static_cast<double>(c.n_heads) * c.group;
  const double head_rows = rows * heads;
  const double mixed = head_rows * cache.head_dim;
  switch (c.kind) {
    case NpuCommandKind::kQuantize:
      return {elements, v.reduce + v.mul + v.add};
    case NpuCommandKind::kRmsNorm:  // the sum of squares, then the scaling
      return {elements, 3 * v.mul + v.reduce, rows, v.rsqrt, 2};
    case NpuCommandKind::kHadamard:  // log2(block) passes of sums
      return {elements, v.mul + v.add * std::log2(double(c.n_out))};
    case NpuCommandKind::kRopeAngles:
      return {2 * elements, v.exp};
    case NpuCommandKind::kRope:  // of queries, then of keys: the halves swapped, products, their
                                 // sum
      return {2 * elements * c.n_heads, 2 * v.mul + v.shuffle, 0, 0, 6};
    case NpuCommandKind::kSwiGlu:
      return {elements, v.exp + 2 * v.mul};
    case NpuCommandKind::kSilu:
      return {elements, v.exp + v.mul};
    case NpuCommandKind::kMul:
      return {elements, v.mul};
    case NpuCommandKind::kCopyLastRow:
      return {static_cast<double>(c.n_cols), v.add};
    case NpuCommandKind::kEmbedRow:
      return {elements, v.dequantize};
    case NpuCommandKind::kPackCache:
      return {rows * c.n_heads * cache.head_dim,
              v.shuffle + (cache.type(c.is_value) == KvType::kQ8 ? v.reduce + v.mul + v.add : 0)};
    case NpuCommandKind::kAttendBegin:
      // Heads are set up once, with the first rows.
      return {mixed, v.add, 0, 0, 1, c.first_row == 0 ? heads : 0};
    case NpuCommandKind::kSoftmax:  // the largest, the exponentials, their sum
      return {head_rows * static_cast<double>(s.n_positions), v.exp + v.add + 2 * v.reduce,
              head_rows, v.exp};
    case NpuCommandKind::kAttendEnd:
      return {mixed, v.mul, head_rows, v.rsqrt};
    default:
      return {elements, v.add};
  }
}

Product product_of(const NpuCommand& c, const NpuCache& cache, const NpuRunShape& s) {
  const auto rows = static_cast<double>(s.n_rows);
  if (c.kind == NpuCommandKind::kMatmul)
    return {rows, static_cast<double>(c.n_out), static_cast<double>(c.n_cols), 1};
  const auto positions = static_cast<double>(s.n_positions);
  const double m = rows * c.group;
  if (c.kind == NpuCommandKind::kScores)
    return {m, positions, static_cast<double>(cache.head_dim), double(c.n_heads)};
  return {m, static_cast<double>(cache.head_dim), positions, double(c.n_heads)};
}

// Bytes of SRAM that a run touches, in the proportion of its rows and positions.
std::uint64_t sram_bytes(const NpuCommands& all, const NpuCommand& c, const NpuRunShape& s) {
  NpuCommand part = c;
  part.n_rows = static_cast<std::uint32_t>(s.n_rows);
  std::uint64_t bytes = 0;
  for (const NpuAccess& access : npu_accesses(all, part)) {
    if (access.memory == NpuMemory::kSram) bytes += access.bytes();
  }
  const bool tiled = c.kind == NpuCommandKind::kStoreScores ||
                     c.kind == NpuCommandKind::kLoadScores ||
                     c.kind == NpuCommandKind::kLoadCache || c.kind == NpuCommandKind::kScores ||
                     c.kind == NpuCommandKind::kSoftmax || c.kind == NpuCommandKind::kMix;
  return tiled ? bytes * static_cast<std::uint64_t>(s.n_positions) / kNpuCacheTile : bytes;
}

}  // namespace

std::optional<MatrixMode> npu_matrix_mode(const NpuProfile& profile, Encoding encoding,
                                          bool float_input) {
  using enum MatrixMode;
  const auto first = [&](std::initializer_list<MatrixMode> modes) -> std::optional<MatrixMode> {
    for (const MatrixMode mode : modes) {
      if (profile.matrix.mode(mode)) return mode;
    }
    return std::nullopt;
  };
  const EncodingSpec spec = encoding_spec(encoding);
  if (spec.dense()) return first({kF16});
  if (spec.bits <= 4) {
    return float_input ? first({kA16W4, kA16W8, kF16})
                       : first({kA8W4, kA8W8, kA16W4, kA16W8, kF16});
  }
  return float_input ? first({kA16W8, kF16}) : first({kA8W8, kA16W8, kF16});
}

NpuRunShape npu_run_shape(const NpuCommand& command, std::uint32_t iteration, const NpuCall& call) {
  NpuRunShape shape;
  shape.n_rows = npu_rows(command, call.n_tokens);
  switch (command.kind) {
    case NpuCommandKind::kLoadCache:
    case NpuCommandKind::kScores:
    case NpuCommandKind::kSoftmax:
    case NpuCommandKind::kMix:
    case NpuCommandKind::kStoreScores:
    case NpuCommandKind::kLoadScores:
      shape.n_positions = npu_tile(command, iteration, call.n_tokens, call.position).n;
      break;
    default:
      break;
  }
  return shape;
}

Picoseconds NpuCosts::dma_ps(double bytes, double piece_bytes) const {
  const double bytes_per_s = profile_.dram_bytes_per_s(clock_state_);
  return whole_ps(bytes / (bytes_per_s * profile_.dma.share(piece_bytes)) * 1e12);
}

Picoseconds NpuCosts::vector_ps(double cycles) const {
  return from_cycles(cycles, state_.vector_mhz);
}

NpuCost NpuCosts::dma(const NpuCommand& c, const NpuRunShape& s) const {
  const auto rows = static_cast<double>(s.n_rows);
  double bytes = 0, piece = 0;
  NpuCost cost;
  std::uint64_t* counter = &cost.bytes.weights;
  switch (c.kind) {
    case NpuCommandKind::kLoadWeight:
      bytes = piece = static_cast<double>(c.n_bytes);
      break;
    case NpuCommandKind::kLoadStrip:
      bytes = piece = static_cast<double>(npu_panel_bytes(
          all_.weights[c.weight], all_.weights[c.weight].tiles.strip_panels * kPanelRows));
      break;
    case NpuCommandKind::kLoad:
    case NpuCommandKind::kStore: {
      counter = &cost.bytes.activations;
      const double n = c.last_row ? 1 : rows;
      bytes = n * c.n_cols * kFloat;
      piece = c.dram_stride == c.n_cols * sizeof(float) ? bytes : c.n_cols * kFloat;
      break;
    }
    case NpuCommandKind::kLoadCache:
      counter = &cost.bytes.cache;
      piece = static_cast<double>(s.n_positions * all_.cache.row_bytes(c.is_value));
      bytes = piece * c.n_heads;
      break;
    case NpuCommandKind::kStoreScores:
    case NpuCommandKind::kLoadScores:  // a record of each head of each row
      counter = &cost.bytes.activations;
      piece = kNpuRecord * kFloat;
      bytes = piece * rows * c.n_heads * c.group;
      break;
    default:
      counter = &cost.bytes.cache;
      piece = static_cast<double>(
          npu_cache_edge_bytes(all_.cache, c.is_value, static_cast<std::uint64_t>(s.n_rows)));
      bytes = piece * c.n_heads;
  }
  *counter = static_cast<std::uint64_t>(bytes);
  cost.bytes.sram = static_cast<std::uint64_t>(bytes);
  cost.fixed_ps = static_cast<Picoseconds>(std::llround(profile_.dma.latency_ns * 1e3));
  cost.work_ps = dma_ps(bytes, piece);
  return cost;
}

Result<NpuCost> NpuCosts::product(const NpuCommand& c, const NpuRunShape& s) const {
  const Product p = product_of(c, all_.cache, s);
  NpuCost cost;
  cost.macs = static_cast<std::uint64_t>(p.macs());
  cost.bytes.sram = sram_bytes(all_, c, s);
  const auto from_sram = [&](double bytes_per_cycle) {
    return from_cycles(static_cast<double>(cost.bytes.sram) / bytes_per_cycle, state_.bus_mhz);
  };
  const VectorEngine& v = profile_.vector;
  const double lane_values = v.lane_bytes / kFloat;
  if (c.engine == NpuEngine::kVector) {
    const double outputs = p.m * p.n * p.count;
    const double cycles =
        (p.macs() * v.cycles_per_vector.mul + outputs * v.cycles_per_vector.reduce) / lane_values /
        v.contexts;
    cost.padded_macs = cost.macs;
    cost.fixed_ps = vector_ps(v.start_cycles);
    cost.work_ps = std::max(vector_ps(cycles), from_sram(profile_.sram.bytes_per_cycle_to_vector));
    return cost;
  }
  const bool is_matmul = c.kind == NpuCommandKind::kMatmul;
  const bool q8 = !is_matmul && all_.cache.type(c.is_value) == KvType::kQ8;
  const Encoding encoding = is_matmul ? all_.weights[c.weight].encoding
                            : q8      ? Encoding::kQ8
                                      : Encoding::kF16;
  cost.mode = npu_matrix_mode(profile_, encoding, is_matmul && c.float_input);
  if (!cost.mode) {
    return unsupported("{}: its matrix engine has no mode for weights in {}", profile_.name,
                       encoding_spec(encoding).name);
  }
  const MatrixShape& shape = *profile_.matrix.mode(*cost.mode);
  const double tiles = ceil_div(p.m, shape.tile_m) * ceil_div(p.n, shape.tile_n) *
                       ceil_div(p.k, shape.tile_k) * p.count;
  const double tile_macs = double(shape.tile_m) * shape.tile_n * shape.tile_k;
  cost.padded_macs = static_cast<std::uint64_t>(tiles * tile_macs);
  const double idle =
      profile_.matrix.start_cycles + profile_.matrix.preload_cycles + profile_.matrix.fill_cycles;
  cost.fixed_ps = from_cycles(idle, state_.matrix_mhz);
  cost.work_ps = std::max(from_cycles(tiles * tile_macs / shape.macs_per_cycle, state_.matrix_mhz),
                          from_sram(profile_.sram.bytes_per_cycle_to_matrix));
  const bool dequantized = v.dequantizes && !encoding_spec(encoding).dense() &&
                           *cost.mode != MatrixMode::kA8W8 && *cost.mode != MatrixMode::kA8W4 &&
                           is_matmul;
  if (dequantized) {
    cost.work_ps = std::max(cost.work_ps, vector_ps(p.n * p.k / lane_values *
                                                    v.cycles_per_vector.dequantize / v.contexts));
  }
  return cost;
}

NpuCost NpuCosts::vector(const NpuCommand& c, const NpuRunShape& s) const {
  const VectorEngine& v = profile_.vector;
  const VectorCost need = vector_cost(c, all_.cache, v.cycles_per_vector, s);
  const double vectors = ceil_div(need.elements * kFloat, v.lane_bytes);
  NpuCost cost;
  cost.bytes.sram = sram_bytes(all_, c, s);
  cost.fixed_ps = vector_ps(need.passes * v.start_cycles + need.heads * v.head_cycles);
  cost.work_ps = std::max(
      vector_ps((vectors * need.cycles_each + need.rows * need.cycles_row) / v.contexts),
      from_cycles(static_cast<double>(cost.bytes.sram) / profile_.sram.bytes_per_cycle_to_vector,
                  state_.bus_mhz));
  return cost;
}

Result<NpuCost> NpuCosts::of(const NpuCommand& command, const NpuRunShape& shape) const {
  if (shape.n_rows == 0) return NpuCost{};
  switch (command.kind) {
    case NpuCommandKind::kLoadCache:
    case NpuCommandKind::kSoftmax:
    case NpuCommandKind::kStoreScores:
    case NpuCommandKind::kLoadScores:
      if (shape.n_positions == 0) return NpuCost{};
      break;
    case NpuCommandKind::kScores:
    case NpuCommandKind::kMix:
      if (shape.n_positions == 0) return NpuCost{};
      return product(command, shape);
    case NpuCommandKind::kMatmul:
      return product(command, shape);
    case NpuCommandKind::kSwitchContext: {
      NpuCost cost;
      cost.fixed_ps = static_cast<Picoseconds>(std::llround(profile_.host.context_switch_us * 1e6));
      return cost;
    }
    default:
      break;
  }
  const bool transfer =
      command.engine == NpuEngine::kWeightDma || command.engine == NpuEngine::kDataDma;
  return transfer ? dma(command, shape) : vector(command, shape);
}

}  // namespace cria
