// One plan, bound to its weights, ready to run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_features.h"
#include "base/result.h"
#include "cria/delegate.h"
#include "delegates/cpu/gated_linear.h"
#include "delegates/cpu/linear_tasks.h"
#include "format/plan/plan.h"
#include "kernels/kernels.h"
#include "tensor/zero_blocks.h"

namespace cria {

// Calls of as many tokens work by blocks of tokens, a task on as many weights as the second-level
// cache holds beside activations, which are read from further away once for each task.
inline constexpr std::int64_t kManyTokens = 128;
inline constexpr std::size_t kManyTokensWeightBytes = 512 * 1024;

// Of fewer, which read weights most of the time, at least: a core that begins anew loses some
// tenths of a microsecond, in which it would read 10 KB.
inline constexpr std::size_t kLeastTaskBytes = 128 * 1024;

// Rows as int8, as kernels take them (kernels.h: a8_index).
struct A8Rows {
  static Result<A8Rows> allocate(std::int64_t n_blocks);
  std::int8_t* codes() { return reinterpret_cast<std::int8_t*>(code_bytes.data()); }
  A8Block* blocks() { return reinterpret_cast<A8Block*>(block_bytes.data()); }

  AlignedBuffer code_bytes, block_bytes;
};

// The same, to read.
struct A8View {
  const std::int8_t* codes;
  const A8Block* blocks;
};

// What a thread made for itself (own_row.h), on cache lines of its own.
struct alignas(64) OwnRow {
  float* floats() { return reinterpret_cast<float*>(float_bytes.data()); }

  std::uint64_t serial = 0;  // of the linear that it is for
  A8Rows a8;
  AlignedBuffer float_bytes;
};

struct CpuOptions {
  Isa isa = Isa::kGeneric;
  bool a8 = false;  // int8 activations for weights in a block encoding
};

// A weight where it lies in the mapped program.
struct CpuWeight {
  Encoding encoding = Encoding::kF32;
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  std::span<const std::byte> bytes;
  std::size_t panel_bytes = 0;           // 0 for plain vectors
  std::optional<ZeroBlocksView> sparse;  // `bytes` are without the zero blocks

  const float* floats() const { return reinterpret_cast<const float*>(bytes.data()); }
};

// One call, after its arguments were checked.
struct CpuCall {
  std::span<const std::int64_t> tokens;
  std::int64_t position = 0;  // of the first token
  std::byte* kv = nullptr;    // laid out for n_ctx positions
  std::int64_t n_ctx = 0;
  std::byte* scratch = nullptr;
  float* logits = nullptr;

  std::int64_t n_tokens() const { return static_cast<std::int64_t>(tokens.size()); }
};

// Thread-safety: one execute() at a time (it uses the host's threads itself).
class CpuMethod {
 public:
  // `host` is copied; what it points to must outlive the method. kBadInput: a malformed plan, a
  // weight that is missing, of another size or badly aligned. kUnsupported: heads too wide.
  static Result<std::unique_ptr<CpuMethod>> create(const cria_host& host,
                                                   std::span<const std::byte> blob,
                                                   const CpuOptions& options);

  // Arguments: cpu_delegate.h. kInvalidArgument: arguments that do not fit the plan, or a token
  // outside the vocabulary. kOutOfResources: positions behind the end of the cache.
  Status execute(std::span<cria_tensor> args);

 private:
  CpuMethod(const cria_host& host, Plan plan, const CpuOptions& options);
  Status bind_weights();
  Status allocate_scratch();
  void listen_to_inputs();

  Result<CpuCall> check_arguments(std::span<const cria_tensor> args) const;
  Status check_positions(const cria_tensor& kv_cache, CpuCall& call) const;
  Status check_output(const cria_tensor& logits, std::int64_t n_rows) const;

  // cpu_ops.cc
  void run(std::size_t op, const CpuCall& call);
  // Tells the host of an op that ran.
  void record(const PlanOp& op, const CpuCall& call, std::int64_t start_ns,
              std::int64_t end_ns) const;
  // Whether the op and the one behind it run as one. Where threads make their own input, nothing
  // may be written over what they make it of.
  bool is_gated(std::size_t op, const CpuCall& call) const {
    if (gating_[op] == Gating::kNone || !shown_weights_.empty()) return false;
    return gating_[op] == Gating::kQuantized || n_rows(plan_.ops[op].x, call) > 1;
  }
  // Whether the linear makes the norm before it.
  bool makes_norm(std::size_t op, const CpuCall& call) const {
    return normed_[op] && n_rows(plan_.ops[op].x, call) == 1 && shown_weights_.empty();
  }
  void show_input(std::size_t op, const CpuCall& call) const;
  void embed(const PlanOp& op, const CpuCall& call);
  void rms_norm(const PlanOp& op, const CpuCall& call);
  void linear(std::size_t op, const CpuCall& call);
  std::vector<LinearWeight> linear_weights(const PlanOp& op) const;
  LinearTasks linear_tasks(std::span<const LinearWeight> weights, std::int64_t n_tokens) const;
  void linear_rows(const PlanOp& op, const CpuCall& call, A8View x, std::size_t weight_slot,
                   std::int64_t first_panel, std::int64_t n_panels);
  void quantize(const PlanOp& op, const CpuCall& call);
  // own_row.cc: what a linear's tasks read as int8.
  struct LinearInput {
    bool is_own = false;           // each thread makes it, else it is in x_
    const PlanOp* norm = nullptr;  // that is made with it
  };
  LinearInput prepare_input(std::size_t op, const CpuCall& call);
  A8View input_of(const PlanOp& linear, const LinearInput& input, const CpuCall& call,
                  std::int32_t thread);
  // gated_linear.cc: the op and the one behind it.
  void gated_linear(std::size_t op, const CpuCall& call);
  struct GatedPart {
    std::int64_t column, n_columns, token, n_tokens;
    bool quantizes;
  };
  void gated_columns(const PlanOp& linear, const PlanOp& swiglu, const CpuCall& call, A8View x,
                     const GatedPart& part);
  void rope(const PlanOp& op, const CpuCall& call);
  void kv_append(const PlanOp& op, const CpuCall& call);
  // The K (or V) of a head at the positions [begin, end), which are tokens of the call.
  void append_head(const PlanOp& op, const CpuCall& call, std::int64_t head, bool is_value,
                   std::int64_t begin, std::int64_t end) const;
  void append_row(KvType type, const float* x, std::int64_t position, bool is_value,
                  std::byte* head) const;
  // K (or V) of one KV head in the cache.
  std::byte* kv_head(const CpuCall& call, std::int32_t layer, std::int64_t head,
                     bool is_value) const;
  void attention(const PlanOp& op, const CpuCall& call);
  // split_attention.cc
  void split_attention(const PlanOp& op, const CpuCall& call);
  void swiglu(const PlanOp& op, const CpuCall& call);
  void elementwise(const PlanOp& op, const CpuCall& call);
  void hadamard(const PlanOp& op, const CpuCall& call);

  std::int64_t n_rows(std::uint32_t buffer, const CpuCall& call) const {
    return plan_.buffers[buffer].single_row ? 1 : call.n_tokens();
  }
  // Row `row` of a buffer; rows follow each other without gaps.
  float* row(std::uint32_t buffer, const CpuCall& call, std::int64_t row) const {
    const PlanBuffer& b = plan_.buffers[buffer];
    if (buffer == output_buffer_) return call.logits + row * b.width;
    return reinterpret_cast<float*>(call.scratch + b.offset_bytes) + row * b.width;
  }
  bool quantizes(const CpuWeight& weight) const {
    return options_.a8 && !encoding_spec(weight.encoding).dense();
  }
  // Calls task(index) for all indices below n_tasks, on the host's threads.
  template <typename Task>
  void parallel_for(std::int64_t n_tasks, const Task& task) const {
    constexpr bool kWantsThread = std::is_invocable_v<const Task&, std::int64_t, std::int32_t>;
    if constexpr (!kWantsThread) {
      if (n_tasks == 1) return task(0);
    }
    const auto call_task = [](void* argument, int64_t index, int32_t thread) {
      const auto& call = *static_cast<const Task*>(argument);
      if constexpr (kWantsThread) {
        call(index, thread);
      } else {
        call(index);
      }
    };
    host_.parallel_for(host_.context, n_tasks, call_task, const_cast<Task*>(&task));
  }

  cria_host host_;
  Plan plan_;
  CpuOptions options_;
  const Kernels& kernels_;
  std::vector<CpuWeight> weights_;      // as Plan::weights
  std::int64_t n_score_positions_ = 0;  // that score rows have room for; 0: there are none
  std::int64_t n_output_rows_ = 0;      // 1, or 0: as many as tokens
  bool gives_output_ = true;            // else a part of a method, whose output is another's
  // The buffer that is the method's result, where nobody else writes it: it lies in the output
  // tensor.
  std::uint32_t output_buffer_ = kNoBuffer;

  // For each op, the keys of the linears whose rows it shows; empty when nobody listens.
  std::vector<std::vector<const char*>> shown_weights_;

  std::vector<Gating> gating_;  // of each op
  std::vector<bool> normed_;    // of each op: a linear that may make the norm before it

  A8Rows x_;                                 // a8: the input of the linear op that runs
  A8Rows next_x_;                            // a8: of the linear behind a gated one
  std::uint32_t quantized_ = kNoBuffer;      // whose rows are in x_ before their linear runs
  std::vector<OwnRow> own_rows_;             // of each thread; none if nothing is quantized
  std::uint64_t own_row_serial_ = 0;         // counts the linears that had them
  AlignedBuffer angles_;                     // rope: cos, then sin, each [max_tokens, head_dim / 2]
  std::uint32_t angles_weight_ = kNoBuffer;  // the frequencies whose angles are in it, this call
};

}  // namespace cria
