// What a command reads and writes, for all its rows: the one description that the compiler orders
// commands by, the verifier checks, the delegate bounds its kernels with and the timing model
// counts.
#pragma once

#include <cstdint>
#include <vector>

#include "format/npu_commands/npu_commands.h"

namespace cria {

enum class NpuMemory : std::uint8_t { kSram, kScratch, kCache, kResult };

// n_rows rows of row_bytes, stride apart.
struct NpuAccess {
  NpuMemory memory = NpuMemory::kSram;
  bool write = false;
  std::uint32_t buffer = kNpuNone;  // kSram
  std::uint64_t offset = 0;         // in SRAM, in scratch; kCache: 2 * layer + is_value
  std::uint64_t row_bytes = 0;
  std::uint64_t n_rows = 1;
  std::uint64_t stride = 0;  // at least row_bytes if n_rows > 1
  std::uint64_t bytes() const { return row_bytes * n_rows; }
  std::uint64_t end() const {
    return n_rows == 0 ? offset : offset + (n_rows - 1) * stride + row_bytes;
  }
};

// Bytes of int8 codes, and of their blocks, of n_rows rows.
std::uint64_t npu_code_bytes(std::uint64_t n_rows, std::uint64_t n_cols);
std::uint64_t npu_block_bytes(std::uint64_t n_rows, std::uint64_t n_cols);
// Floats of the attention state of one row and head: largest score, the two factors of the last
// step, what makes scores of products of its query with keys, 16 sums, values.
std::uint64_t npu_state_floats(std::int64_t head_dim);
inline constexpr std::int64_t kNpuStateSums = 16;
// Bytes of a weight's panels [first_panel, ...) that hold n_out rows.
std::uint64_t npu_panel_bytes(const NpuWeight& weight, std::uint32_t n_out);
// Bytes of a tile of keys or values of one head, and of what kLoadCacheEdge and kStoreCache move
// for one head.
std::uint64_t npu_cache_tile_bytes(const NpuCache& cache, bool is_value);
std::uint64_t npu_cache_edge_bytes(const NpuCache& cache, bool is_value, std::uint64_t n_rows);

// REQUIRES: indices in range and sizes as check_command_form() in npu_verify.cc wants them.
std::vector<NpuAccess> npu_accesses(const NpuCommands& commands, const NpuCommand& command);

}  // namespace cria
