#include "llm/session.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "llm/process_memory.h"
#include "llm/sampler.h"
#include "llm/stop_filter.h"
#include "tokenizer/tokenizer.h"

namespace cria {
namespace {

SamplingOptions sampling_options(const GenerateOptions& options) {
  SamplingOptions sampling;
  sampling.temperature = options.temperature;
  sampling.top_k = options.top_k;
  sampling.top_p = options.top_p;
  sampling.min_p = options.min_p;
  sampling.repeat_penalty = options.repeat_penalty;
  sampling.repeat_last_n = options.repeat_last_n;
  sampling.seed = options.seed;
  return sampling;
}

bool contains(const std::vector<std::int32_t>& ids, std::int32_t id) {
  return std::ranges::find(ids, id) != ids.end();
}

}  // namespace

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kEndToken:
      return "eos";
    case StopReason::kStopString:
      return "stop";
    case StopReason::kTokenLimit:
      return "length";
    case StopReason::kContextFull:
      return "context";
    case StopReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

struct Session::Run {
  Run(const GenerateOptions& options, const OnText& on_text, StreamDecoder decoder,
      std::int64_t n_vocab)
      : options(options),
        on_text(on_text),
        sampler(sampling_options(options)),
        decoder(std::move(decoder)),
        filter(options.stop),
        logits(static_cast<std::size_t>(n_vocab)) {}

  const GenerateOptions& options;
  const OnText& on_text;
  Sampler sampler;
  StreamDecoder decoder;
  StopFilter filter;
  std::vector<float> logits;  // of the last token read
  GenerateResult result;

  // Shows text that is certain; false to stop.
  bool show(const std::string& text) {
    if (text.empty()) return true;
    result.text += text;
    return !on_text || on_text(text);
  }

  // Shows held-back text that turned out to be no stop string; a cancelled caller wants none.
  void show_rest() {
    if (result.reason == StopReason::kCancelled) return;
    std::string rest = filter.push(decoder.flush());
    rest += filter.finish();
    show(rest);
  }
};

Status Session::rewind(std::int64_t position) {
  CRIA_RETURN_IF_ERROR(cache_.rewind(position));
  unread_id_.reset();
  return {};
}

void Session::reset() {
  cache_.reset();
  unread_id_.reset();
}

Status Session::check(std::span<const std::int32_t> ids, const GenerateOptions& options) {
  const LanguageModelInfo& info = model_.info();
  CRIA_RETURN_IF_ERROR(validate(sampling_options(options)));
  CRIA_RETURN_IF_ERROR(cache_.bind(info.kv_bytes_per_position, info.max_context));
  if (static_cast<std::int64_t>(ids.size()) > cache_.remaining()) {
    return out_of_resources("the prompt has {} tokens, {} of the context's {} positions are left",
                            ids.size(), cache_.remaining(), cache_.n_ctx());
  }
  return {};
}

Status Session::run_prompt(std::span<const std::int32_t> ids, Run& run) {
  CRIA_RETURN_IF_ERROR(model_.forward(ids, cache_, LogitRows::kLast, run.logits));
  for (std::int32_t id : ids) run.sampler.accept(id);
  unread_id_.reset();
  return {};
}

// Leaves the loop with the reason why it ended in the result.
Status Session::decode_loop(Run& run) {
  const GenerateOptions& options = run.options;
  GenerateResult& result = run.result;
  const auto stop = [&result](StopReason reason) {
    result.reason = reason;
    return Status();
  };
  for (;;) {
    const auto n_generated = static_cast<std::int64_t>(result.ids.size());
    if (options.max_tokens >= 0 && n_generated >= options.max_tokens) {
      return stop(StopReason::kTokenLimit);
    }
    if (unread_id_) {
      if (cache_.remaining() == 0) return stop(StopReason::kContextFull);
      const std::int32_t id = *unread_id_;
      CRIA_RETURN_IF_ERROR(model_.forward({&id, 1}, cache_, LogitRows::kLast, run.logits));
    }
    CRIA_ASSIGN_OR_RETURN(const std::int32_t id, run.sampler.next(run.logits));
    run.sampler.accept(id);
    unread_id_ = id;
    result.ids.push_back(id);
    if (result.ids.size() == 1) result.stats.first_token_seconds = clock_();
    const bool is_end = tokenizer_.is_eos(id) || contains(model_.info().eos_ids, id);
    if (is_end && !options.ignore_eos) return stop(StopReason::kEndToken);
    if (!run.show(run.filter.push(run.decoder.push(id)))) return stop(StopReason::kCancelled);
    if (run.filter.stopped()) return stop(StopReason::kStopString);
  }
}

Result<GenerateResult> Session::generate(std::span<const std::int32_t> prompt_ids,
                                         const GenerateOptions& options, const OnText& on_text) {
  if (prompt_ids.empty()) return invalid_argument("the prompt has no tokens");
  std::vector<std::int32_t> ids;
  if (unread_id_) ids.push_back(*unread_id_);
  ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
  CRIA_RETURN_IF_ERROR(check(ids, options));

  const double start = clock_();
  const std::int64_t position_before = cache_.position();
  const std::optional<std::int32_t> unread_before = unread_id_;
  Run run(options, on_text, StreamDecoder(tokenizer_, false, ids.back()), model_.info().n_vocab);
  Status status = run_prompt(ids, run);
  const double prompt_end = clock_();
  if (status.ok()) status = decode_loop(run);
  if (!status.ok()) {
    CRIA_RETURN_IF_ERROR(cache_.rewind(position_before));
    unread_id_ = unread_before;
    return status;
  }
  run.show_rest();
  GenerateStats& stats = run.result.stats;
  stats.n_prompt = static_cast<std::int64_t>(ids.size());
  stats.n_generated = static_cast<std::int64_t>(run.result.ids.size());
  stats.prompt_seconds = prompt_end - start;
  stats.decode_seconds = clock_() - prompt_end;
  if (stats.n_generated > 0) stats.first_token_seconds -= start;
  stats.kv_bytes = cache_.size_bytes();
  const ProcessMemory memory = process_memory();
  stats.rss_anon_bytes = memory.rss_anon_bytes;
  stats.rss_file_bytes = memory.rss_file_bytes;
  return std::move(run.result);
}

}  // namespace cria
