// A decoder as the generation loop sees it: token ids in, logits out, the cache in between.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "llm/kv_cache.h"

namespace cria {

struct LanguageModelInfo {
  std::int64_t n_vocab = 0;
  std::int64_t max_context = 0;    // positions a cache may have at most
  std::int64_t prefill_chunk = 1;  // tokens of one prefill step
  std::int64_t verify_chunk = 0;   // tokens of one step with all logits; 0: the program has none
  std::uint64_t kv_bytes_per_position = 0;
  std::int64_t kv_granularity = 1;  // a cache has a multiple of so many positions
  std::int32_t bos_id = -1;         // -1: none
  std::vector<std::int32_t> eos_ids;
};

enum class LogitRows { kLast, kAll };

// How forward() cuts its ids into steps, besides what the program's methods take: whatever it is,
// the results are the same. 0: no limit.
struct BatchLimits {
  std::int64_t n_batch = 0;   // ids after which a new step begins
  std::int64_t n_ubatch = 0;  // ids of a step
};

// Thread-safety: one forward() at a time.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual const LanguageModelInfo& info() const = 0;

  // REQUIRES: no negative limit.
  void limit_batches(const BatchLimits& limits) { limits_ = limits; }
  const BatchLimits& batch_limits() const { return limits_; }
  // Ids of the step after the first `n_done` of a forward call with `n_ids`. REQUIRES: n_done <
  // n_ids, and a program that gives such rows.
  std::int64_t next_step(std::int64_t n_done, std::int64_t n_ids, LogitRows rows) const;

  // Appends `ids` to the sequence in `cache`. `logits`: [n_vocab] of the last id, or
  // [ids.size(), n_vocab]. On any error the cache's position is as before.
  // kInvalidArgument: no ids, an id outside the vocabulary, `logits` of another size.
  // kOutOfResources: more ids than the cache has positions left; nothing is run.
  // kUnsupported: kAll, and the program cannot.
  Status forward(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
                 std::span<float> logits);

 protected:
  // At most prefill_chunk (kLast) or verify_chunk (kAll) checked ids at cache.position(), which
  // forward() advances afterwards. `logits` as in forward().
  virtual Status step(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
                      std::span<float> logits) = 0;

 private:
  Status check(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
               std::span<float> logits) const;

  BatchLimits limits_;
};

// Bytes of a cache for at least `n_ctx` positions. kInvalidArgument unless 1 <= n_ctx <=
// max_context.
Result<std::uint64_t> kv_cache_bytes(const LanguageModelInfo& info, std::int64_t n_ctx);

}  // namespace cria
