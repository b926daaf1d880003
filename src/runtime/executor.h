// Runs the methods of one program: memory, threads, delegates.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "cria/delegate.h"
#include "runtime/delegate_registry.h"
#include "runtime/method.h"
#include "runtime/program.h"

namespace cria {

struct ExecutorOptions {
  int n_threads = 0;                            // 0: all cores this process may use
  int spin_us = ThreadPool::kSpinMicroseconds;  // base/thread_pool.h
  std::vector<DelegateOption> options;
  OpListener on_op;        // hears of every op of every run; empty: nothing is timed
  InputListener on_input;  // sees what linears read; empty: delegates are not asked
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
  const Program& program() const { return *program_; }
  int n_threads() const { return pool_.n_threads(); }
  std::uint64_t activation_bytes() const { return activations_.size_bytes(); }

  // kNotFound: not loaded. The method lives as long as the executor.
  Result<const Method*> method(std::string_view name) const;

  // Runs a method. `inputs` and `outputs` point to the caller's memory, with sizes within what the
  // program declares; a delegate that writes less lowers an output's sizes. `state` is the memory
  // for the method's state tensor, whose first size follows from it.
  // kInvalidArgument: arguments that do not fit. Otherwise the delegate's error.
  Status run(std::string_view name, std::span<const cria_tensor> inputs,
             std::span<cria_tensor> outputs, std::span<std::byte> state);

 private:
  Executor(std::shared_ptr<const Program> program, int n_threads, int spin_us)
      : program_(std::move(program)), pool_(n_threads, spin_us) {}

  std::shared_ptr<const Program> program_;
  ThreadPool pool_;
  AlignedBuffer activations_;
  std::map<std::string, std::unique_ptr<Method>, std::less<>> methods_;  // use all of the above
};

}  // namespace cria
