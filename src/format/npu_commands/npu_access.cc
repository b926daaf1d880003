#include "format/npu_commands/npu_access.h"

#include <algorithm>

namespace cria {
namespace {

constexpr std::uint64_t kFloat = sizeof(float);

std::uint64_t blocks_of(std::uint64_t n_cols) { return (n_cols + kColumnGroup - 1) / kColumnGroup; }

// Collects the accesses of one command.
class Collector {
 public:
  Collector(const NpuCommands& commands, const NpuCommand& command) : all_(commands), c_(command) {}

  std::vector<NpuAccess> run() {
    switch (c_.kind) {
      case NpuCommandKind::kLoadWeight:
        flat(c_.out, c_.n_bytes, true);
        break;
      case NpuCommandKind::kLoadStrip:
        flat(c_.out, npu_panel_bytes(weight(), weight().tiles.strip_panels * kPanelRows), true);
        break;
      case NpuCommandKind::kLoad:
        dram(NpuMemory::kScratch, false);
        rows(c_.out, c_.n_cols, c_.last_row ? 1 : c_.n_rows, true);
        break;
      case NpuCommandKind::kStore:
        rows(c_.x, c_.n_cols, c_.n_rows, false);
        dram(c_.to_result ? NpuMemory::kResult : NpuMemory::kScratch, true);
        break;
      case NpuCommandKind::kLoadCache:
        cache(false, c_.n_heads * npu_cache_tile_bytes(all_.cache, c_.is_value));
        flat(c_.out, c_.n_heads * npu_cache_tile_bytes(all_.cache, c_.is_value), true);
        break;
      case NpuCommandKind::kLoadCacheEdge:
        cache(false, edge_bytes());
        flat(c_.out, edge_bytes(), true);
        break;
      case NpuCommandKind::kStoreCache:
        flat(c_.x, edge_bytes(), false);
        cache(true, edge_bytes());
        break;
      case NpuCommandKind::kStoreScores:
        flat(c_.x, record_bytes(), false);
        dram(NpuMemory::kScratch, true);
        break;
      case NpuCommandKind::kLoadScores:
        dram(NpuMemory::kScratch, false);
        flat(c_.out, record_bytes(), true);
        break;
      case NpuCommandKind::kMatmul:
        matmul();
        break;
      case NpuCommandKind::kScores:
      case NpuCommandKind::kSoftmax:
      case NpuCommandKind::kMix:
      case NpuCommandKind::kAttendBegin:
      case NpuCommandKind::kAttendEnd:
        attention();
        break;
      case NpuCommandKind::kSwitchContext:
        break;
      default:
        vector();
    }
    return std::move(out_);
  }

 private:
  const NpuWeight& weight() const { return all_.weights[c_.weight]; }
  std::uint64_t edge_bytes() const {
    return c_.n_heads * npu_cache_edge_bytes(all_.cache, c_.is_value, c_.n_rows);
  }

  // Of one tile.
  std::uint64_t record_bytes() const {
    return std::uint64_t{c_.n_rows} * c_.n_heads * c_.group * kNpuRecord * kFloat;
  }

  // `n_rows` rows of `values` floats; no stride: without gaps.
  void rows(const NpuOperand& operand, std::uint64_t values, std::uint64_t n_rows, bool write) {
    const std::uint64_t row_bytes = values * kFloat;
    add(operand, row_bytes, n_rows, operand.stride == 0 ? row_bytes : operand.stride, write);
  }
  void flat(const NpuOperand& operand, std::uint64_t bytes, bool write) {
    add(operand, bytes, 1, bytes, write);
  }
  void add(const NpuOperand& operand, std::uint64_t row_bytes, std::uint64_t n_rows,
           std::uint64_t stride, bool write) {
    NpuAccess access{NpuMemory::kSram, write, operand.buffer};
    access.offset = all_.buffers[operand.buffer].offset_bytes + operand.offset;
    access.row_bytes = row_bytes;
    access.n_rows = n_rows;
    access.stride = stride;
    out_.push_back(access);
  }
  void dram(NpuMemory memory, bool write) {
    NpuAccess access{memory, write};
    access.offset = c_.dram_offset;
    access.row_bytes = c_.n_cols * kFloat;
    access.n_rows = c_.n_rows;
    access.stride = c_.dram_stride;
    out_.push_back(access);
  }
  void cache(bool write, std::uint64_t bytes) {
    NpuAccess access{NpuMemory::kCache, write};
    access.offset = std::uint64_t{2} * c_.layer + (c_.is_value ? 1 : 0);
    access.row_bytes = bytes;
    out_.push_back(access);
  }

  void matmul() {
    if (c_.float_input) {
      rows(c_.x, c_.n_cols, c_.n_rows, false);
    } else {
      flat(c_.x, npu_code_bytes(c_.n_rows, c_.n_cols), false);
      flat(c_.y, npu_block_bytes(c_.n_rows, c_.n_cols), false);
    }
    flat(c_.z, npu_panel_bytes(weight(), c_.n_out), false);
    if (c_.accumulate) rows(c_.out, c_.n_out, c_.n_rows, false);
    rows(c_.out, c_.n_out, c_.n_rows, true);
  }

  void attention() {
    const std::uint64_t heads = std::uint64_t{c_.n_heads} * c_.group;
    const std::uint64_t scores =
        c_.records ? record_bytes() : c_.n_rows * heads * kNpuCacheTile * kFloat;
    const std::uint64_t state = c_.n_rows * heads * npu_state_floats(all_.cache.head_dim) * kFloat;
    const std::uint64_t width = heads * static_cast<std::uint64_t>(all_.cache.head_dim);
    const std::uint64_t tile = c_.n_heads * npu_cache_tile_bytes(all_.cache, c_.is_value);
    switch (c_.kind) {
      case NpuCommandKind::kScores:
        rows(c_.x, width, c_.n_rows, false);
        flat(c_.z, tile, false);
        return flat(c_.out, scores, true);
      case NpuCommandKind::kSoftmax:
        flat(c_.x, scores, false);
        flat(c_.x, scores, true);
        flat(c_.y, state, false);
        return flat(c_.y, state, true);
      case NpuCommandKind::kMix:
        flat(c_.y, scores, false);
        flat(c_.z, tile, false);
        flat(c_.out, state, false);
        return flat(c_.out, state, true);
      case NpuCommandKind::kAttendBegin:
        if (!c_.records) rows(c_.x, width, c_.n_rows, false);
        return flat(c_.out, state, true);
      default:
        flat(c_.x, state, false);
        return rows(c_.out, width, c_.n_rows, true);
    }
  }

  void vector() {
    switch (c_.kind) {
      case NpuCommandKind::kQuantize:
        rows(c_.x, c_.n_cols, c_.n_rows, false);
        flat(c_.out, npu_code_bytes(c_.n_rows, c_.n_cols), true);
        return flat(c_.y, npu_block_bytes(c_.n_rows, c_.n_cols), true);
      case NpuCommandKind::kRmsNorm:
      case NpuCommandKind::kHadamard:
        rows(c_.x, c_.n_cols, c_.n_rows, false);
        rows(c_.y, c_.n_cols, 1, false);
        return rows(c_.out, c_.n_cols, c_.n_rows, true);
      case NpuCommandKind::kRopeAngles:
        rows(c_.x, c_.n_cols, 1, false);
        rows(c_.out, c_.n_cols, c_.n_rows, true);
        return rows(c_.y, c_.n_cols, c_.n_rows, true);
      case NpuCommandKind::kRope:
        rows(c_.x, c_.n_cols, c_.n_rows, false);
        rows(c_.y, c_.n_cols, c_.n_rows, false);
        rows(c_.out, std::uint64_t{2} * c_.n_cols * c_.n_heads, c_.n_rows, false);
        return rows(c_.out, std::uint64_t{2} * c_.n_cols * c_.n_heads, c_.n_rows, true);
      case NpuCommandKind::kSwiGlu:
      case NpuCommandKind::kAdd:
      case NpuCommandKind::kMul:
        rows(c_.y, c_.n_cols, c_.n_rows, false);
        [[fallthrough]];
      case NpuCommandKind::kSilu:
        rows(c_.x, c_.n_cols, c_.n_rows, false);
        return rows(c_.out, c_.n_cols, c_.n_rows, true);
      case NpuCommandKind::kCopyLastRow:
        rows(c_.x, c_.n_cols, c_.n_rows, false);
        return rows(c_.out, c_.n_cols, 1, true);
      case NpuCommandKind::kEmbedRow:
        flat(c_.x, npu_panel_bytes(weight(), weight().tiles.strip_panels * kPanelRows), false);
        return rows(c_.out, c_.n_cols, 1, true);
      default:  // kPackCache; panels keep what other positions have
        rows(c_.x, std::uint64_t{c_.n_heads} * static_cast<std::uint64_t>(all_.cache.head_dim),
             c_.n_rows, false);
        if (all_.cache.type(c_.is_value) == KvType::kQ8) flat(c_.out, edge_bytes(), false);
        return flat(c_.out, edge_bytes(), true);
    }
  }

  const NpuCommands& all_;
  const NpuCommand& c_;
  std::vector<NpuAccess> out_;
};

}  // namespace

std::uint64_t npu_code_bytes(std::uint64_t n_rows, std::uint64_t n_cols) {
  return n_rows * blocks_of(n_cols) * kColumnGroup;
}

std::uint64_t npu_block_bytes(std::uint64_t n_rows, std::uint64_t n_cols) {
  constexpr std::uint64_t kA8BlockBytes = 8;  // sizeof(A8Block): a float and two 16-bit sums
  return n_rows * blocks_of(n_cols) * kA8BlockBytes;
}

std::uint64_t npu_state_floats(std::int64_t head_dim) {
  return static_cast<std::uint64_t>(4 + kNpuStateSums + head_dim);
}

std::uint64_t npu_panel_bytes(const NpuWeight& weight, std::uint32_t n_out) {
  const std::uint64_t panels = (std::uint64_t{n_out} + kPanelRows - 1) / kPanelRows;
  return panels * panel_layout(weight.encoding, weight.n_cols).size_bytes;
}

std::uint64_t npu_cache_tile_bytes(const NpuCache& cache, bool is_value) {
  return static_cast<std::uint64_t>(kNpuCacheTile * cache.row_bytes(is_value));
}

std::uint64_t npu_cache_edge_bytes(const NpuCache& cache, bool is_value, std::uint64_t n_rows) {
  if (cache.type(is_value) == KvType::kF16)
    return n_rows * static_cast<std::uint64_t>(cache.row_bytes(is_value));
  // n rows from any position on touch that many panels at most.
  const std::uint64_t panels = (n_rows + kKvPanel - 2) / kKvPanel + 1;
  return panels * static_cast<std::uint64_t>(kKvPanel * cache.row_bytes(is_value));
}

std::vector<NpuAccess> npu_accesses(const NpuCommands& commands, const NpuCommand& command) {
  return Collector(commands, command).run();
}

}  // namespace cria
