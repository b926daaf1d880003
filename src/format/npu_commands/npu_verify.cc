#include "format/npu_commands/npu_verify.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>

namespace cria {
namespace {

// Far above any model; products of a few of them stay below 2^63.
constexpr std::int64_t kMaxTokens = 1 << 12;
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 28;  // rows or columns of a weight
constexpr std::int64_t kMaxHeads = 1 << 12;
constexpr std::int64_t kMaxHeadDim = 256;
constexpr std::uint64_t kMaxSram = std::uint64_t{1} << 31;
constexpr std::uint64_t kMaxScratch = std::uint64_t{1} << 46;
constexpr std::size_t kMaxCommands = std::size_t{1} << 22;

bool in_range(std::int64_t value, std::int64_t low, std::int64_t high) {
  return value >= low && value <= high;
}

Status verify_sizes(const NpuCommands& c) {
  if (!in_range(c.max_tokens, 1, kMaxTokens)) {
    return bad_input("max_tokens is {}, expected 1 to {}", c.max_tokens, kMaxTokens);
  }
  if (!in_range(c.n_vocab, 1, kMaxExtent))
    return bad_input("n_vocab is {}, expected 1 to {}", c.n_vocab, kMaxExtent);
  if (c.max_context < 0) return bad_input("max_context is {}", c.max_context);
  if (c.align_bytes < kNpuAlignment || !std::has_single_bit(c.align_bytes) ||
      c.align_bytes > (1u << 20)) {
    return bad_input("alignment of {} bytes, expected a power of two from {} on", c.align_bytes,
                     kNpuAlignment);
  }
  if (c.sram_bytes > kMaxSram)
    return bad_input("{} bytes of SRAM, at most {} are supported", c.sram_bytes, kMaxSram);
  if (c.scratch_bytes > kMaxScratch)
    return bad_input("{} bytes of scratch, at most {}", c.scratch_bytes, kMaxScratch);
  if (c.commands.empty() || c.commands.size() > kMaxCommands) {
    return bad_input("{} commands, expected 1 to {}", c.commands.size(), kMaxCommands);
  }
  if (c.contexts.empty()) return bad_input("no address window, expected one or more");
  return {};
}

Status verify_cache(const NpuCache& cache) {
  const auto number = [](KvType type) { return static_cast<int>(type); };
  if (number(cache.k_type) >= kKvTypeCount || number(cache.v_type) >= kKvTypeCount) {
    return bad_input("cache of types {} and {}, known are 0 to {}", number(cache.k_type),
                     number(cache.v_type), kKvTypeCount - 1);
  }
  if (!in_range(cache.n_layers, 0, kMaxTokens) || !in_range(cache.n_kv_heads, 0, kMaxHeads) ||
      !in_range(cache.head_dim, 0, kMaxHeadDim)) {
    return bad_input(
        "cache of {} layers, {} heads of {} values, at most {}, {} of {} are supported",
        cache.n_layers, cache.n_kv_heads, cache.head_dim, kMaxTokens, kMaxHeads, kMaxHeadDim);
  }
  for (const bool is_value : {false, true}) {
    if (cache.head_dim > 0 && !kv_type_fits(cache.type(is_value), cache.head_dim)) {
      return bad_input("a cache in {} with heads of {} values", kv_type_name(cache.type(is_value)),
                       cache.head_dim);
    }
  }
  return {};
}

Status verify_weight(const NpuWeight& w) {
  if (static_cast<int>(w.encoding) >= kEncodingCount) {
    return bad_input("weight '{}' has encoding {}, known are 0 to {}", w.key,
                     static_cast<int>(w.encoding), kEncodingCount - 1);
  }
  if (!in_range(w.n_rows, 1, kMaxExtent) || !in_range(w.n_cols, 1, kMaxExtent)) {
    return bad_input("weight '{}' is [{}, {}], expected extents of 1 to {}", w.key, w.n_rows,
                     w.n_cols, kMaxExtent);
  }
  if (!w.packed && (w.n_rows != 1 || w.encoding != Encoding::kF32)) {
    return bad_input("weight '{}' is not packed: expected one row of f32", w.key);
  }
  if (!in_range(w.tiles.strip_panels, 1, kMaxStripPanels) || w.tiles.tile_columns < 32 ||
      w.tiles.tile_columns % kColumnGroup != 0 || w.tiles.tile_columns > kMaxExtent) {
    return bad_input("weight '{}' in strips of {} panels and tiles of {} columns", w.key,
                     w.tiles.strip_panels, w.tiles.tile_columns);
  }
  if (npu_weight_bytes(w) == 0) return bad_input("weight '{}' is larger than any memory", w.key);
  return {};
}

Status verify_weights(const NpuCommands& c) {
  std::set<std::string_view> keys;
  for (const NpuWeight& w : c.weights) {
    CRIA_RETURN_IF_ERROR(verify_weight(w));
    if (!keys.insert(w.key).second) return bad_input("weight '{}' is described twice", w.key);
  }
  return {};
}

Status verify_buffers(const NpuCommands& c) {
  for (const NpuBuffer& b : c.buffers) {
    if (b.offset_bytes % c.align_bytes != 0) {
      return bad_input("buffer '{}' starts at {}, expected a multiple of {}", b.name,
                       b.offset_bytes, c.align_bytes);
    }
    if (b.size_bytes == 0 || b.size_bytes > c.sram_bytes ||
        b.offset_bytes > c.sram_bytes - b.size_bytes) {
      return bad_input("buffer '{}' of {} bytes at {}, SRAM has {}", b.name, b.size_bytes,
                       b.offset_bytes, c.sram_bytes);
    }
    if (b.first > b.last || b.last >= c.commands.size()) {
      return bad_input("buffer '{}' lives from command {} to {}, there are {}", b.name, b.first,
                       b.last, c.commands.size());
    }
  }
  return {};
}

// Sweeps over the commands; of the buffers alive, those next to each other in SRAM must not
// overlap.
Status verify_disjoint(const NpuCommands& c) {
  std::vector<std::size_t> by_first(c.buffers.size()), by_last(c.buffers.size());
  std::iota(by_first.begin(), by_first.end(), std::size_t{0});
  by_last = by_first;
  std::ranges::sort(by_first, {}, [&](std::size_t i) { return c.buffers[i].first; });
  std::ranges::sort(by_last, {}, [&](std::size_t i) { return c.buffers[i].last; });
  std::set<std::pair<std::uint64_t, std::size_t>> alive;  // by offset
  std::size_t gone = 0;
  const auto check = [&](std::size_t low, std::size_t high) -> Status {
    const NpuBuffer& a = c.buffers[low];
    const NpuBuffer& b = c.buffers[high];
    if (a.offset_bytes + a.size_bytes <= b.offset_bytes) return {};
    return bad_input("buffers '{}' [{}, {}) and '{}' [{}, {}) overlap, and both live at command {}",
                     a.name, a.offset_bytes, a.offset_bytes + a.size_bytes, b.name, b.offset_bytes,
                     b.offset_bytes + b.size_bytes, std::max(a.first, b.first));
  };
  for (const std::size_t i : by_first) {
    for (; c.buffers[by_last[gone]].last < c.buffers[i].first; ++gone) {
      alive.erase({c.buffers[by_last[gone]].offset_bytes, by_last[gone]});
    }
    const auto [at, is_new] = alive.insert({c.buffers[i].offset_bytes, i});
    if (at != alive.begin()) CRIA_RETURN_IF_ERROR(check(std::prev(at)->second, i));
    if (std::next(at) != alive.end()) CRIA_RETURN_IF_ERROR(check(i, std::next(at)->second));
  }
  return {};
}

Status verify_loops(const NpuCommands& c) {
  std::uint64_t end = 0;
  for (const NpuLoop& loop : c.loops) {
    if (loop.first < end || loop.n == 0 || std::uint64_t{loop.first} + loop.n > c.commands.size()) {
      return bad_input("a loop over commands [{}, +{}), expected one behind {} and within {}",
                       loop.first, loop.n, end, c.commands.size());
    }
    if (!in_range(loop.end_row, 1, c.max_tokens)) {
      return bad_input("a loop over the positions of rows before {}, a call has {}", loop.end_row,
                       c.max_tokens);
    }
    end = std::uint64_t{loop.first} + loop.n;
  }
  return {};
}

Status verify_imports(const NpuCommands& c) {
  for (const NpuImport& i : c.imports) {
    if (i.size_bytes > c.scratch_bytes || i.offset_bytes > c.scratch_bytes - i.size_bytes) {
      return bad_input("imports {} bytes at {}, scratch has {}", i.size_bytes, i.offset_bytes,
                       c.scratch_bytes);
    }
  }
  return {};
}

}  // namespace

Status verify_npu_tables(const NpuCommands& commands) {
  CRIA_RETURN_IF_ERROR(verify_sizes(commands));
  CRIA_RETURN_IF_ERROR(verify_cache(commands.cache));
  CRIA_RETURN_IF_ERROR(verify_weights(commands));
  CRIA_RETURN_IF_ERROR(verify_buffers(commands));
  CRIA_RETURN_IF_ERROR(verify_disjoint(commands));
  CRIA_RETURN_IF_ERROR(verify_loops(commands));
  return verify_imports(commands);
}

Status verify_npu_commands(const NpuCommands& commands) {
  CRIA_RETURN_IF_ERROR(verify_npu_tables(commands));
  CRIA_RETURN_IF_ERROR(verify_npu_forms(commands));
  return verify_npu_hazards(commands);
}

}  // namespace cria
