// Runs the methods of one program: memory, threads, delegates.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cria/delegate.h"
#include "runtime/delegate_registry.h"
#include "runtime/program.h"

namespace cria {

class Method;

// A setting for delegates, on top of the program's compile specs.
struct DelegateOption {
  std::string delegate;  // the one it is for; empty: every delegate
  std::string key;
  std::string value;
};

struct ExecutorOptions {
  int n_threads = 0;  // 0: all cores this process may use
  std::vector<DelegateOption> options;
};

// An input or output of a method, as the program declares it.
struct TensorSpec {
  std::int32_t dtype = 0;           // ExecuTorch's ScalarType number
  std::vector<std::int64_t> sizes;  // upper bounds if dynamic
  bool dynamic = false;
  std::uint64_t size_bytes = 0;  // at these sizes
};

// One instance of a program: one activation arena, as large as its largest method needs, and one
// thread pool, shared by all its methods. Which delegate runs what is fixed when a method is
// loaded; nothing falls back.
// Thread-safety: one call at a time.
class Executor {
 public:
  // `registry` is used during this call only; its delegate tables must outlive the executor.
  // Loads the methods `names`, all of which must exist.
  // kUnsupported: an instruction that is not a delegate call (the message names the operator), or a
  // delegate that is not in this build or whose device is absent.
  static Result<std::unique_ptr<Executor>> create(std::shared_ptr<const Program> program,
                                                  std::span<const std::string> names,
                                                  const DelegateRegistry& registry,
                                                  const ExecutorOptions& options = {});
  ~Executor();

  const Program& program() const { return *program_; }
  int n_threads() const;
  std::uint64_t activation_bytes() const;  // the shared arena

  // REQUIRES: `name` is one of the loaded methods, here and below.
  const std::vector<TensorSpec>& inputs(std::string_view name) const;
  const std::vector<TensorSpec>& outputs(std::string_view name) const;
  // Bytes of the state arena (the caller's KV cache) at its largest.
  std::uint64_t max_state_bytes(std::string_view name) const;
  // Names of the delegates that run it, in the order of their calls.
  std::vector<std::string> delegate_names(std::string_view name) const;

  // Runs a method. `inputs` and `outputs` point to the caller's memory, their sizes within what the
  // program declares; a delegate that writes less lowers an output's sizes. `state` is the memory
  // of the state arena: its dynamic tensors take their size from it.
  // kInvalidArgument: arguments that do not fit. Otherwise the delegate's error.
  Status run(std::string_view name, std::span<const cria_tensor> inputs,
             std::span<cria_tensor> outputs, std::span<std::byte> state);

 private:
  struct Shared;  // what the delegates of all methods use
  Executor(std::shared_ptr<const Program> program, int n_threads);
  const Method& method(std::string_view name) const;

  std::shared_ptr<const Program> program_;
  std::unique_ptr<Shared> shared_;
  std::map<std::string, std::unique_ptr<Method>, std::less<>> methods_;
};

}  // namespace cria
