#include "cria/engine.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "api/delegates.h"
#include "api/engine_impl.h"
#include "api/open_tokenizer.h"
#include "api/power_profile.h"
#include "api/program_device.h"
#include "api/program_metadata.h"
#include "base/result.h"
#include "base/thread_pool.h"

namespace cria {
namespace {

ModelInfo describe(const Program& program, const ProgramModel& model,
                   const EngineOptions& options) {
  const LanguageModelInfo& language = model.info();
  const nlohmann::json metadata = read_metadata(program);
  ModelInfo info;
  info.n_vocab = language.n_vocab;
  info.max_context = language.max_context;
  // The longest steps that there will be, and no verify method stays none.
  info.prefill_chunk = model.next_step(0, language.prefill_chunk, LogitRows::kLast);
  info.verify_chunk =
      std::max<std::int64_t>(0, model.next_step(0, language.verify_chunk, LogitRows::kAll));
  info.n_batch = options.n_batch > 0 ? options.n_batch : info.prefill_chunk;
  info.kv_bytes_per_position = language.kv_bytes_per_position;
  info.bos_id = language.bos_id;
  info.eos_ids = language.eos_ids;
  if (Result<std::int64_t> n_layers = program.constant("get_n_layers"); n_layers.ok())
    info.n_layers = *n_layers;
  info.n_parameters = value_or<std::int64_t>(metadata, "n_parameters", 0);
  info.file_bytes = program.file_bytes();
  info.weight_bytes = value_or<std::uint64_t>(metadata, "weight_bytes", program.named_data_bytes());
  info.description = fmt::format("llama {:.4g}M {}", static_cast<double>(info.n_parameters) / 1e6,
                                 value_or<std::string>(metadata, "recipe", "?"));
  info.activations = options.activations.empty()
                         ? value_or<std::string>(metadata, "activations", "a16")
                         : options.activations;
  info.device = program_device(program);
  const CacheTypes types = program_cache_types(program);
  info.cache_type_k = types.k;
  info.cache_type_v = types.v;
  return info;
}

OpListener listener_of(const OnOp& on_op) {
  if (!on_op) return {};
  return [on_op](const OpEvent& event) {
    const cria_op_record& record = event.record;
    on_op({.method = event.method,
           .delegate = event.delegate,
           .op = record.op,
           .name = record.name,
           .layer = record.layer,
           .n_tokens = record.n_tokens,
           .start_ns = record.start_ns,
           .end_ns = record.end_ns,
           .weight_bytes = record.weight_bytes,
           .kv_bytes = record.kv_bytes,
           .macs = record.macs});
  };
}

InputListener listener_of(const OnLinearInput& on_input) {
  if (!on_input) return {};
  return [on_input](const InputEvent& event) {
    const cria_input_record& record = event.record;
    on_input({.method = event.method,
              .delegate = event.delegate,
              .weights = {record.weights, record.n_weights},
              .rows = record.rows,
              .n_rows = record.n_rows,
              .n_cols = record.n_cols});
  };
}

}  // namespace

Result<Engine> Engine::load(const std::string& pte_path, const EngineOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.n_batch < 0 || options.n_ubatch < 0) {
    return invalid_argument("batches of {} and steps of {} tokens, expected 0 or more",
                            options.n_batch, options.n_ubatch);
  }
  CRIA_ASSIGN_OR_RETURN(const CpuPower power, cpu_power(options.power_profile, available_cores()));
  ExecutorOptions executor_options;
  executor_options.n_threads = options.n_threads == 0 ? power.n_threads : options.n_threads;
  executor_options.spin_us = power.spin_us;
  executor_options.on_op = listener_of(options.on_op);
  executor_options.on_input = listener_of(options.on_input);
  if (!options.activations.empty())
    executor_options.options.push_back({"", "act", options.activations});
  auto impl = std::make_shared<Impl>();
  CRIA_ASSIGN_OR_RETURN(impl->program, Program::load(pte_path));
  CRIA_RETURN_IF_ERROR(check_device(*impl->program, options.device));
  CRIA_ASSIGN_OR_RETURN(impl->model,
                        ProgramModel::create(impl->program, builtin_delegates(), executor_options));
  impl->model->limit_batches({.n_batch = options.n_batch, .n_ubatch = options.n_ubatch});
  impl->model->pace(power.max_tokens_per_second);
  impl->costs = StepCosts(*impl->model);
  impl->info = describe(*impl->program, *impl->model, options);
  impl->info.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return Engine(std::move(impl));
}

const ModelInfo& Engine::info() const { return impl_->info; }
int Engine::n_threads() const { return impl_->model->executor().n_threads(); }

Result<TextTokenizer> Engine::tokenizer() const {
  CRIA_ASSIGN_OR_RETURN(std::shared_ptr<const Tokenizer> tokenizer,
                        program_tokenizer(impl_->program));
  return TextTokenizer(std::move(tokenizer));
}

Result<std::uint64_t> Engine::kv_cache_bytes(std::int64_t n_ctx) const {
  return cria::kv_cache_bytes(impl_->model->info(), n_ctx);
}

Status Engine::forward(std::span<const std::int32_t> ids, KvCacheBuffer& cache,
                       std::span<float> logits) const {
  std::lock_guard lock(impl_->mutex);
  return impl_->model->forward(ids, cache.impl().cache, LogitRows::kLast, logits);
}

Status Engine::forward_all(std::span<const std::int32_t> ids, KvCacheBuffer& cache,
                           std::span<float> logits) const {
  std::lock_guard lock(impl_->mutex);
  return impl_->model->forward(ids, cache.impl().cache, LogitRows::kAll, logits);
}

ForwardCost Engine::forward_cost(std::int64_t n_tokens, std::int64_t position) const {
  return impl_->costs.forward(*impl_->model, n_tokens, position, LogitRows::kLast);
}

ForwardCost Engine::forward_all_cost(std::int64_t n_tokens, std::int64_t position) const {
  return impl_->costs.forward(*impl_->model, n_tokens, position, LogitRows::kAll);
}

Result<KvCacheBuffer> KvCacheBuffer::allocate(std::uint64_t size_bytes) {
  CRIA_ASSIGN_OR_RETURN(KvCache cache, KvCache::allocate(size_bytes));
  KvCacheBuffer buffer;
  buffer.impl_ = std::make_unique<Impl>(std::move(cache));
  return buffer;
}

KvCacheBuffer::KvCacheBuffer() = default;
KvCacheBuffer::KvCacheBuffer(KvCacheBuffer&&) noexcept = default;
KvCacheBuffer& KvCacheBuffer::operator=(KvCacheBuffer&&) noexcept = default;
KvCacheBuffer::~KvCacheBuffer() = default;

std::uint64_t KvCacheBuffer::size_bytes() const { return impl_->cache.size_bytes(); }
std::int64_t KvCacheBuffer::position() const { return impl_->cache.position(); }
void KvCacheBuffer::reset() { impl_->cache.reset(); }
void KvCacheBuffer::wipe() { impl_->cache.wipe(); }
Status KvCacheBuffer::rewind(std::int64_t position) { return impl_->cache.rewind(position); }

}  // namespace cria
