#include "llm/kv_cache.h"

#include <algorithm>

#include "base/huge_pages.h"

namespace cria {
namespace {

// Positions of different heads and layers lie far apart, so that a prompt writes to thousands of
// small pages (3 % of a 1B model's prompt went into looking them up, measured), while huge pages
// make the whole of a cache resident at once. A larger cache grows as it fills.
constexpr std::uint64_t kMostHugePageBytes = std::uint64_t{256} << 20;

}  // namespace

Result<KvCache> KvCache::allocate(std::uint64_t size_bytes) {
  if (size_bytes == 0) return invalid_argument("KV cache: 0 bytes asked for");
  KvCache cache;
  CRIA_ASSIGN_OR_RETURN(cache.memory_, AlignedBuffer::allocate(size_bytes));
  if (size_bytes <= kMostHugePageBytes) prefer_huge_pages(cache.memory_.bytes());
  return cache;
}

Status KvCache::bind(std::uint64_t bytes_per_position, std::int64_t max_context,
                     std::int64_t granularity) {
  if (bytes_per_position == 0 || max_context <= 0 || granularity <= 0) {
    return invalid_argument("KV cache: {} bytes a position, {} positions at most, by {}",
                            bytes_per_position, max_context, granularity);
  }
  if (position_ > 0 && bytes_per_position != bytes_per_position_) {
    return invalid_argument(
        "KV cache: holds {} tokens of {} bytes, this model has {} bytes a token", position_,
        bytes_per_position_, bytes_per_position);
  }
  const auto n_fit = static_cast<std::int64_t>(std::min<std::uint64_t>(
      memory_.size_bytes() / bytes_per_position, static_cast<std::uint64_t>(max_context)));
  const std::int64_t n_ctx = n_fit / granularity * granularity;
  if (n_ctx == 0) {
    return out_of_resources(
        "KV cache: {} bytes, {} of this model need {}", memory_.size_bytes(),
        granularity == 1 ? "one position" : fmt::format("{} positions", granularity),
        bytes_per_position * static_cast<std::uint64_t>(granularity));
  }
  if (position_ > 0 && n_ctx != n_ctx_) {
    return invalid_argument("KV cache: laid out for {} positions, this model would have {}", n_ctx_,
                            n_ctx);
  }
  bytes_per_position_ = bytes_per_position;
  n_ctx_ = n_ctx;
  used_bytes_ = static_cast<std::uint64_t>(n_ctx) * bytes_per_position;
  return {};
}

void KvCache::wipe() {
  memory_.wipe();
  position_ = 0;
}

Status KvCache::rewind(std::int64_t position) {
  if (position < 0 || position > position_) {
    return invalid_argument("KV cache: cannot rewind to position {}, it holds {}", position,
                            position_);
  }
  position_ = position;
  return {};
}

}  // namespace cria
