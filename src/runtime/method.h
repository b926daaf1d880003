// One method of a program: its chain of delegate calls, ready to run.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "cria/delegate.h"
#include "runtime/call_queue.h"
#include "runtime/delegate_instance.h"
#include "runtime/delegate_registry.h"
#include "runtime/op_listener.h"
#include "runtime/program.h"

namespace cria {

namespace pte {
struct BackendDelegate;
struct Tensor;
}  // namespace pte

// A setting for delegates, on top of the program's compile specs.
struct DelegateOption {
  std::string delegate;  // the one it is for; empty: every delegate
  std::string key;
  std::string value;
};

// A tensor as the program declares it.
struct TensorSpec {
  std::int32_t dtype = 0;           // ExecuTorch's ScalarType number
  std::vector<std::int64_t> sizes;  // upper bounds if dynamic
  bool dynamic = false;
  std::uint64_t element_bytes = 0;
  std::uint64_t size_bytes = 0;  // at these sizes
};

// What a method borrows from its executor.
struct MethodEnvironment {
  const Program& program;
  ThreadPool& pool;
  const DelegateRegistry& registry;  // during load() only
  std::span<const DelegateOption> options;
  const OpListener& on_op;        // may be empty; copied by load()
  const InputListener& on_input;  // the same
};

// What one run works on.
struct MethodCall {
  std::span<const cria_tensor> inputs;
  std::span<cria_tensor> outputs;
  std::span<std::byte> activations;  // activation_bytes() or more
  std::span<std::byte> state;        // for the state tensor
};

// Calls follow each other. Only where a delegate's device has a queue of its own, every call says
// in its compile spec `after` which earlier ones it waits for ("0,3"; "": none), some call does not
// wait for the one before it, and nobody listens to ops, that device and the host work at once. A
// program that says too little computes garbage, as one with wrong weights does: each call stays
// within its own memory.
//
// Memory: arena 1 holds activations and is lent for a run; inputs and outputs are the caller's
// memory, wherever the program planned them; arena 2 holds at most one tensor, the state (a KV
// cache [positions, bytes a position]), which the caller owns.
// Thread-safety: one run() at a time.
class Method {
 public:
  // kNotFound: no such method, or a delegate that this build lacks. kUnsupported: an instruction
  // that is not a delegate call (the message names the operator), a memory plan other than the
  // above. kBadInput: tensors that do not fit their arena. Otherwise the delegate's error.
  static Result<std::unique_ptr<Method>> load(const std::string& name,
                                              const MethodEnvironment& environment);

  const std::vector<TensorSpec>& inputs() const { return inputs_; }
  const std::vector<TensorSpec>& outputs() const { return outputs_; }
  const TensorSpec& state() const { return state_; }  // no sizes: the method has none
  std::uint64_t activation_bytes() const { return activation_bytes_; }
  std::vector<std::string> delegate_names() const;  // in the order of the calls

  // See Executor::run.
  Status run(const MethodCall& call);

 private:
  enum class Place { kInput, kOutput, kActivations, kState };
  // A value that a call uses or that the caller gives.
  struct Slot {
    TensorSpec spec;
    Place place = Place::kActivations;
    std::uint64_t offset_bytes = 0;  // kActivations
  };
  struct Call {
    std::size_t delegate;                // index into delegates_
    std::vector<std::size_t> slots;      // in the order of its arguments
    std::vector<cria_tensor> arguments;  // during a run
  };
  class Loader;

  Method() = default;
  Status bind_state(std::span<std::byte> memory, cria_tensor& tensor) const;
  Status bind(const MethodCall& call);
  void bind_arguments(Call& call) const;
  Status run_call(Call& call);
  // REQUIRES: bound arguments, and tensors_ as then.
  Status execute(Call& call);
  Status run_queued();

  std::string name_;
  std::vector<TensorSpec> inputs_, outputs_;
  TensorSpec state_;
  std::uint64_t activation_bytes_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::size_t> input_slots_, output_slots_;
  std::vector<std::unique_ptr<DelegateInstance>> delegates_;
  std::vector<Call> calls_;
  std::vector<CallQueue::Call> order_;  // of calls_, where they are queued
  std::unique_ptr<CallQueue> queue_;    // null: they follow each other
  std::vector<cria_tensor> tensors_;    // of slots_, during a run
};

}  // namespace cria
