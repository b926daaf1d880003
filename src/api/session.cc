#include "cria/session.h"

#include "api/engine_impl.h"
#include "base/result.h"
#include "llm/session.h"

namespace cria {

// Holds what the inner session refers to. Not movable: the session points into it.
class GenerationSession::Impl {
 public:
  Impl(Engine shared, TextTokenizer text, KvCache owned)
      : engine(std::move(shared)),
        tokenizer(std::move(text)),
        cache(std::move(owned)),
        session(*engine.impl().model, tokenizer.internal(), cache) {}

  Engine engine;
  TextTokenizer tokenizer;
  KvCache cache;
  Session session;
};

GenerationSession::GenerationSession(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GenerationSession::GenerationSession(GenerationSession&&) noexcept = default;
GenerationSession& GenerationSession::operator=(GenerationSession&&) noexcept = default;
GenerationSession::~GenerationSession() = default;

Result<GenerationSession> GenerationSession::create(const Engine& engine, std::int64_t n_ctx) {
  CRIA_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, engine.kv_cache_bytes(n_ctx));
  CRIA_ASSIGN_OR_RETURN(KvCache cache, KvCache::allocate(size_bytes));
  CRIA_ASSIGN_OR_RETURN(TextTokenizer tokenizer, engine.tokenizer());
  return GenerationSession(std::make_unique<Impl>(engine, std::move(tokenizer), std::move(cache)));
}

Result<GenerateResult> GenerationSession::generate(std::span<const std::int32_t> prompt_ids,
                                                   const GenerateOptions& options,
                                                   const OnText& on_text) {
  std::lock_guard lock(impl_->engine.impl().mutex);
  return impl_->session.generate(prompt_ids, options, on_text);
}

std::int64_t GenerationSession::position() const { return impl_->session.position(); }
void GenerationSession::reset() { impl_->session.reset(); }
Status GenerationSession::rewind(std::int64_t position) { return impl_->session.rewind(position); }

}  // namespace cria
