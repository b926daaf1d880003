// Runs what lies behind some op of a model again and again, on the same texts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "base/thread_pool.h"
#include "format/plan/plan.h"
#include "runtime/delegate_instance.h"
#include "runtime/program.h"

namespace cria {

// Windows of tokens through the method `verify` of a program for the CPU alone, from an op of its
// plan on. What that op and those behind it need of earlier ones is kept, of all windows; the cache
// is written anew. So the logits are those of the whole method, bit for bit, as long as the weights
// of the earlier ops are what they were in advance(). Float activations.
// Memory: what is kept (the buffers alive at one op), one cache.
// Thread-safety: one call at a time.
class ModelTail {
 public:
  // `windows`: of one length; they and the pool must outlive it. Starts before the first op.
  // kNotFound: no `verify`. kUnsupported: it is not one call of the CPU's delegate.
  // kInvalidArgument: windows longer than the program's context.
  static Result<std::unique_ptr<ModelTail>> create(
      std::shared_ptr<const Program> program, std::span<const std::vector<std::int32_t>> windows,
      ThreadPool& pool);

  // The last op before which nothing depends on this weight, and from which the method can be run.
  // kInternal: no op reads it.
  Result<std::size_t> start_for(std::string_view key) const;
  // Moves the start to `op`. REQUIRES: not before the present start, and before the last op.
  Status advance(std::size_t op);
  // From the start to the end. `logits`: [windows][tokens, n_vocab].
  Status run(std::span<float> logits);

  std::int64_t n_vocab() const { return plan_.n_vocab; }

 private:
  // Tokens of one call, and what was in the kept buffers before its start.
  struct Step {
    std::vector<std::int64_t> tokens;
    std::int64_t position = 0;
    std::vector<std::vector<float>> kept;  // of kept_
  };
  struct Part {
    std::vector<std::byte> blob;
    std::unique_ptr<DelegateInstance> instance;
  };

  ModelTail(std::shared_ptr<const Program> program, ThreadPool& pool)
      : program_(std::move(program)), pool_(pool) {}
  void cut_steps(std::span<const std::vector<std::int32_t>> windows);
  Result<Part> part_of(const Plan& plan);
  std::span<float> rows(const PlanBuffer& buffer, const Step& step);
  Status execute(const Part& part, Step& step, std::span<float> logits);

  std::shared_ptr<const Program> program_;
  ThreadPool& pool_;
  Plan plan_;
  std::vector<Step> steps_;
  AlignedBuffer scratch_, cache_;
  std::int64_t n_ctx_ = 0;  // positions of the cache
  std::size_t start_ = 0;
  std::vector<PlanBuffer> kept_;  // alive before the start
  Part tail_;
};

}  // namespace cria
