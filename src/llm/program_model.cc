#include "llm/program_model.h"

#include <algorithm>
#include <limits>
#include <thread>

namespace cria {
namespace {

constexpr std::int32_t kDtypeInt64 = 4, kDtypeFloat = 6;  // ExecuTorch's ScalarType
constexpr const char* kDecode = "decode";
constexpr const char* kPrefill = "prefill";
constexpr const char* kVerify = "verify";

bool is_form(const TensorSpec& spec, std::int32_t dtype, std::size_t rank) {
  return spec.dtype == dtype && spec.sizes.size() == rank && spec.sizes[0] == 1 &&
         spec.size_bytes > 0;
}

// The methods of generation, by their arguments.
bool is_generation(const Method& method) {
  return method.inputs().size() == 2 && method.outputs().size() == 1 &&
         is_form(method.inputs()[0], kDtypeInt64, 2) &&
         is_form(method.inputs()[1], kDtypeInt64, 1) &&
         is_form(method.outputs()[0], kDtypeFloat, 3) && method.state().size_bytes > 0;
}

Result<std::int32_t> as_id(std::int64_t value, std::string_view name) {
  if (value >= -1 && value <= std::numeric_limits<std::int32_t>::max()) {
    return static_cast<std::int32_t>(value);
  }
  return bad_input("{} gives {}, which is no token id", name, value);
}

}  // namespace

Result<std::unique_ptr<ProgramModel>> ProgramModel::create(std::shared_ptr<const Program> program,
                                                           const DelegateRegistry& registry,
                                                           const ExecutorOptions& options) {
  std::unique_ptr<ProgramModel> model(new ProgramModel);
  // decode comes first: it sets what the others must agree with, and must be there.
  model->method_names_ = {kDecode};
  for (const char* name : {kPrefill, kVerify}) {
    if (program->has_method(name)) model->method_names_.emplace_back(name);
  }
  CRIA_ASSIGN_OR_RETURN(model->executor_, Executor::create(std::move(program), model->method_names_,
                                                           registry, options));
  const std::string& path = model->executor_->program().path();
  for (const std::string& name : model->method_names_) {
    Status status = model->read_method(name);
    if (!status.ok()) return std::move(status).with_context(path + ": method " + name);
  }
  Status status = model->read_constants();
  if (!status.ok()) return std::move(status).with_context(path);
  return model;
}

Status ProgramModel::read_method(const std::string& name) {
  CRIA_ASSIGN_OR_RETURN(const Method* method, executor_->method(name));
  if (!is_generation(*method)) {
    return unsupported(
        "expected int64 tokens [1, n], int64 input_pos [1], float32 logits [1, rows, "
        "n_vocab] and a cache");
  }
  const TensorSpec& tokens = method->inputs()[0];
  const TensorSpec& logits = method->outputs()[0];
  const TensorSpec& state = method->state();
  const std::int64_t max_tokens = tokens.sizes[1];
  const std::int64_t n_context = state.sizes[0];
  const std::uint64_t bytes_per_position = state.size_bytes / static_cast<std::uint64_t>(n_context);
  if (name == kDecode) {
    info_.n_vocab = logits.sizes[2];
    info_.max_context = n_context;
    info_.kv_bytes_per_position = bytes_per_position;
  }
  if (logits.sizes[2] != info_.n_vocab || n_context != info_.max_context ||
      bytes_per_position != info_.kv_bytes_per_position) {
    return bad_input("{} logits, {} positions of {} bytes; decode has {}, {} of {}",
                     logits.sizes[2], n_context, bytes_per_position, info_.n_vocab,
                     info_.max_context, info_.kv_bytes_per_position);
  }
  if (!tokens.dynamic && max_tokens > 1) {
    return unsupported("calls of exactly {} tokens, expected a dynamic number", max_tokens);
  }
  const std::int64_t n_rows = name == kVerify ? max_tokens : 1;
  if (logits.sizes[1] != n_rows) {
    return bad_input("{} rows of logits for {} tokens, expected {}", logits.sizes[1], max_tokens,
                     n_rows);
  }
  if (name == kVerify) {
    info_.verify_chunk = max_tokens;
  } else {
    info_.prefill_chunk = max_tokens;  // prefill's, where there is one
  }
  return {};
}

Status ProgramModel::read_constants() {
  const Program& program = executor_->program();
  const auto read = [&program](const char* name, std::int64_t fallback) -> Result<std::int64_t> {
    if (!program.has_method(name)) return fallback;
    return program.constant(name);
  };
  CRIA_ASSIGN_OR_RETURN(const std::int64_t n_vocab, read("get_vocab_size", info_.n_vocab));
  if (n_vocab != info_.n_vocab) {
    return bad_input("get_vocab_size gives {}, the methods have {} logits", n_vocab, info_.n_vocab);
  }
  CRIA_ASSIGN_OR_RETURN(const std::int64_t n_context,
                        read("get_max_context_len", info_.max_context));
  if (n_context < 1 || n_context > info_.max_context) {
    return bad_input("get_max_context_len gives {}, the cache has {} positions", n_context,
                     info_.max_context);
  }
  info_.max_context = n_context;
  CRIA_ASSIGN_OR_RETURN(info_.kv_granularity, read("get_kv_granularity", 1));
  if (info_.kv_granularity < 1 || n_context % info_.kv_granularity != 0) {
    return bad_input("get_kv_granularity gives {}, the context is {} positions",
                     info_.kv_granularity, n_context);
  }
  CRIA_ASSIGN_OR_RETURN(const std::int64_t bos_id, read("get_bos_id", -1));
  CRIA_ASSIGN_OR_RETURN(info_.bos_id, as_id(bos_id, "get_bos_id"));
  if (!program.has_method("get_eos_ids")) return {};
  CRIA_ASSIGN_OR_RETURN(const std::vector<std::int64_t> eos_ids, program.constants("get_eos_ids"));
  for (std::int64_t id : eos_ids) {
    CRIA_ASSIGN_OR_RETURN(const std::int32_t eos_id, as_id(id, "get_eos_ids"));
    info_.eos_ids.push_back(eos_id);
  }
  return {};
}

std::string_view ProgramModel::method_of_step(std::int64_t n_tokens, LogitRows rows) const {
  // One token's logits are those of its last token: decode gives them in either case.
  if (n_tokens == 1) return kDecode;
  if (rows == LogitRows::kAll) return kVerify;
  return executor_->program().has_method(kPrefill) ? kPrefill : kDecode;
}

Status ProgramModel::step(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
                          std::span<float> logits) {
  if (ids.size() == 1) std::this_thread::sleep_for(pacer_.delay(std::chrono::steady_clock::now()));
  tokens_.assign(ids.begin(), ids.end());
  const auto n_tokens = static_cast<std::int64_t>(ids.size());
  std::int64_t position = cache.position();
  const cria_tensor inputs[] = {
      {tokens_.data(), tokens_.size() * sizeof(std::int64_t), kDtypeInt64, 2, {1, n_tokens}},
      {&position, sizeof(position), kDtypeInt64, 1, {1}},
  };
  const std::int64_t n_rows = rows == LogitRows::kAll ? n_tokens : 1;
  cria_tensor output{
      logits.data(), logits.size_bytes(), kDtypeFloat, 3, {1, n_rows, info_.n_vocab}};
  CRIA_RETURN_IF_ERROR(
      executor_->run(method_of_step(n_tokens, rows), inputs, {&output, 1}, cache.bytes()));
  if (output.size_bytes != logits.size_bytes()) {
    return internal_error("{} bytes of logits came back, expected {}", output.size_bytes,
                          logits.size_bytes());
  }
  return {};
}

}  // namespace cria
