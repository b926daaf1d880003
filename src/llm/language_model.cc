#include "llm/language_model.h"

#include <algorithm>

namespace cria {

Status LanguageModel::check(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
                            std::span<float> logits) const {
  const LanguageModelInfo& info = this->info();
  if (ids.empty()) return invalid_argument("forward: no token ids");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= info.n_vocab) {
      return invalid_argument("forward: id {} at index {}, the vocabulary has {}", ids[i], i,
                              info.n_vocab);
    }
  }
  if (rows == LogitRows::kAll && info.verify_chunk <= 0) {
    return unsupported("forward: this program gives the logits of the last token only");
  }
  const std::size_t n_rows = rows == LogitRows::kAll ? ids.size() : 1;
  const std::size_t n_expected = n_rows * static_cast<std::size_t>(info.n_vocab);
  if (logits.size() != n_expected) {
    return invalid_argument("forward: room for {} logits, {} x {} expected", logits.size(), n_rows,
                            info.n_vocab);
  }
  CRIA_RETURN_IF_ERROR(
      cache.bind(info.kv_bytes_per_position, info.max_context, info.kv_granularity));
  if (static_cast<std::int64_t>(ids.size()) > cache.remaining()) {
    return out_of_resources("forward: {} tokens at position {} of a context of {}", ids.size(),
                            cache.position(), cache.n_ctx());
  }
  return {};
}

std::int64_t LanguageModel::next_step(std::int64_t n_done, std::int64_t n_ids,
                                      LogitRows rows) const {
  const std::int64_t chunk = rows == LogitRows::kAll ? info().verify_chunk : info().prefill_chunk;
  std::int64_t n = std::min(chunk, n_ids - n_done);
  if (limits_.n_batch > 0) n = std::min(n, limits_.n_batch - n_done % limits_.n_batch);
  if (limits_.n_ubatch > 0) n = std::min(n, limits_.n_ubatch);
  return n;
}

Status LanguageModel::forward(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
                              std::span<float> logits) {
  CRIA_RETURN_IF_ERROR(check(ids, cache, rows, logits));
  const bool all = rows == LogitRows::kAll;
  const std::int64_t position_before = cache.position();
  for (std::size_t done = 0; done < ids.size();) {
    const std::int64_t n_step =
        next_step(static_cast<std::int64_t>(done), static_cast<std::int64_t>(ids.size()), rows);
    const auto part = ids.subspan(done, static_cast<std::size_t>(n_step));
    const auto n_vocab = static_cast<std::size_t>(info().n_vocab);
    // Earlier chunks of a prompt write their last row where the last chunk then writes its own.
    const auto out = all ? logits.subspan(done * n_vocab, part.size() * n_vocab) : logits;
    Status status = step(part, cache, rows, out);
    if (!status.ok()) {
      CRIA_RETURN_IF_ERROR(cache.rewind(position_before));
      return status;
    }
    cache.advance(n_step);
    done += part.size();
  }
  return {};
}

Result<std::uint64_t> kv_cache_bytes(const LanguageModelInfo& info, std::int64_t n_ctx) {
  if (n_ctx < 1 || n_ctx > info.max_context) {
    return invalid_argument("a context of {} positions, this program has 1 to {}", n_ctx,
                            info.max_context);
  }
  const std::int64_t granularity = info.kv_granularity;
  const std::int64_t n_held = (n_ctx + granularity - 1) / granularity * granularity;
  return static_cast<std::uint64_t>(n_held) * info.kv_bytes_per_position;
}

}  // namespace cria
