#include "runtime/delegate_instance.h"

#include <algorithm>

namespace cria {

DelegateInstance::DelegateInstance(const cria_delegate* delegate, const Program& program,
                                   ThreadPool& pool, Listeners listeners)
    : delegate_(delegate), program_(program), pool_(pool), listeners_(std::move(listeners)) {
  host_.context = this;
  host_.n_threads = pool.n_threads();
  host_.get_named_data = [](void* context, const char* key, cria_bytes* out) -> int {
    const auto& self = *static_cast<DelegateInstance*>(context);
    *out = {};
    Result<std::span<const std::byte>> data = self.program_.named_data(key);
    if (!data.ok()) return static_cast<int>(data.status().code());
    *out = {data->data(), data->size()};
    return 0;
  };
  host_.parallel_for = [](void* context, int64_t n_tasks,
                          void (*task)(void* argument, int64_t index, int32_t thread),
                          void* argument) {
    auto& self = *static_cast<DelegateInstance*>(context);
    self.pool_.parallel_for(n_tasks, [task, argument](std::int64_t index, int thread) {
      task(argument, index, thread);
    });
  };
  host_.set_error = [](void* context, const char* message) {
    static_cast<DelegateInstance*>(context)->message_ = message == nullptr ? "" : message;
  };
  if (listeners_.on_record) host_.record_op = record_op;
  if (listeners_.on_input) host_.observe_input = observe_input;
}

void DelegateInstance::record_op(void* context, const cria_op_record* record) {
  cria_op_record checked = *record;
  if (checked.op == nullptr) checked.op = "";
  if (checked.name == nullptr) checked.name = "";
  checked.end_ns = std::max(checked.start_ns, checked.end_ns);
  static_cast<DelegateInstance*>(context)->listeners_.on_record(checked);
}

void DelegateInstance::observe_input(void* context, const cria_input_record* record) {
  auto& self = *static_cast<DelegateInstance*>(context);
  const std::span weights(record->weights, record->weights == nullptr ? 0 : record->n_weights);
  const bool good = !weights.empty() && std::ranges::count(weights, nullptr) == 0 &&
                    record->rows != nullptr && record->n_rows > 0 && record->n_cols > 0;
  if (good) return self.listeners_.on_input(*record);
  self.bad_input_record_ = true;
}

DelegateInstance::~DelegateInstance() {
  if (initialized_) delegate_->destroy(handle_);
}

// A delegate is a plug-in: a code that is no ErrorCode is its fault, not ours.
Status DelegateInstance::status_of(int code) {
  if (code == 0) return {};
  const bool known = code > 0 && code <= static_cast<int>(ErrorCode::kInternal);
  const std::string message = message_.empty() ? "no reason given" : message_;
  message_.clear();
  if (!known) return internal_error("{}: {} (unknown code {})", name(), message, code);
  return Status(static_cast<ErrorCode>(code), fmt::format("{}: {}", name(), message));
}

Result<std::unique_ptr<DelegateInstance>> DelegateInstance::create(
    const cria_delegate* delegate, const Program& program, ThreadPool& pool,
    std::span<const std::byte> blob, const Options& options, Listeners listeners) {
  if (delegate->is_available() != 1) {
    return unsupported("delegate {}: its device is not there", delegate->name);
  }
  std::unique_ptr<DelegateInstance> instance(
      new DelegateInstance(delegate, program, pool, std::move(listeners)));
  std::vector<cria_option> table;
  for (const auto& [key, value] : options) table.push_back({key.c_str(), value.c_str()});
  const int code = delegate->init(&instance->host_, {blob.data(), blob.size()}, table.data(),
                                  table.size(), &instance->handle_);
  instance->initialized_ = code == 0;
  CRIA_RETURN_IF_ERROR(instance->status_of(code));
  return instance;
}

Status DelegateInstance::execute(std::span<cria_tensor> args) {
  CRIA_RETURN_IF_ERROR(status_of(delegate_->execute(handle_, args.data(), args.size())));
  if (!bad_input_record_) return {};
  bad_input_record_ = false;
  return internal_error("{}: observe_input was called without weights or rows", name());
}

}  // namespace cria
