#include "runtime/executor.h"

#include <algorithm>

#include "base/huge_pages.h"

namespace cria {

Result<std::unique_ptr<Executor>> Executor::create(std::shared_ptr<const Program> program,
                                                   std::span<const std::string> names,
                                                   const DelegateRegistry& registry,
                                                   const ExecutorOptions& options) {
  if (options.n_threads < 0) {
    return invalid_argument("{} threads asked for, expected 0 (all) or more", options.n_threads);
  }
  const int n_threads = options.n_threads == 0 ? available_cores() : options.n_threads;
  std::unique_ptr<Executor> executor(new Executor(std::move(program), n_threads, options.spin_us));
  const MethodEnvironment environment{*executor->program_, executor->pool_, registry,
                                      options.options,     options.on_op,   options.on_input};
  std::uint64_t activation_bytes = 0;
  for (const std::string& name : names) {
    Result<std::unique_ptr<Method>> method = Method::load(name, environment);
    if (!method.ok()) {
      return std::move(method).status().with_context(executor->program_->path());
    }
    activation_bytes = std::max(activation_bytes, (*method)->activation_bytes());
    executor->methods_[name] = std::move(*method);
  }
  if (activation_bytes > 0) {
    CRIA_ASSIGN_OR_RETURN(executor->activations_, AlignedBuffer::allocate(activation_bytes));
    prefer_huge_pages(executor->activations_.bytes());
  }
  return executor;
}

Result<const Method*> Executor::method(std::string_view name) const {
  const auto found = methods_.find(name);
  if (found == methods_.end()) return not_found("method {} is not loaded", name);
  return found->second.get();
}

Status Executor::run(std::string_view name, std::span<const cria_tensor> inputs,
                     std::span<cria_tensor> outputs, std::span<std::byte> state) {
  const auto found = methods_.find(name);
  if (found == methods_.end()) return not_found("method {} is not loaded", name);
  return found->second->run({inputs, outputs, activations_.bytes(), state});
}

}  // namespace cria
