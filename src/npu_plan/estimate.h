// What the ops of a plan cost on an NPU, and on the processor beside it, in closed form from the
// NPU's profile. For choosing where an op runs, and for figures before anything is compiled: no
// order of commands, no prefetch from op to op.
//
//   linear     the longest of: its weights from DRAM; the multiply-adds in full tiles; dequantizing
//   where the vector engine
//              does that. Before it a pass over its rows (to int8), with its fixed cost.
//   attention  each query head by itself: keys, scores, softmax, values, mix; three commands, two
//   transfers. Scores and
//              mix run on the matrix engine from `tile_m` / 4 rows on, else on the vector engine.
//   others     a vector command: its fixed cost and its elements
//   host       submission and completion of the call; decoding of each op
//
// The device's precision for activations that are no codes is half floats: 2 bytes an element.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "format/npu_profile/npu_profile.h"
#include "format/plan/plan.h"

namespace cria {

struct EstimateCall {
  std::int64_t n_tokens = 1;
  std::int64_t position = 0;  // tokens in the cache before them
  std::uint32_t clock_state = 0;
};

enum class EstimateBound : std::uint8_t { kDma, kMatrix, kVector, kHost, kCpu };
const char* estimate_bound_name(EstimateBound bound);  // "dma"

struct OpEstimate {
  double seconds = 0;
  EstimateBound bound = EstimateBound::kVector;  // what most of the time goes to
  double dram_bytes = 0;
  double device_joules = 0;  // multipliers and SRAM, or the processor's cores
  double dram_joules = 0;
};

// kUnsupported, in a few words: the device cannot, and why.
Result<OpEstimate> estimate_npu_op(const NpuProfile& profile, const Plan& plan, const PlanOp& op,
                                   const EstimateCall& call);
OpEstimate estimate_cpu_op(const NpuProfile& profile, const Plan& plan, const PlanOp& op,
                           const EstimateCall& call);

// Passing buffers of so many bytes between the two, through the memory that they share: 0 bytes:
// the call alone.
double handoff_seconds(const NpuProfile& profile, bool to_npu);

// A call that runs on the NPU alone.
struct CallEstimate {
  double seconds = 0;
  double host_seconds = 0;  // of it
  double dram_bytes = 0;
  double device_joules = 0;  // multipliers, SRAM and static: the NPU's own rail
  double dram_joules = 0;
  double host_joules = 0;
  double joules() const { return device_joules + dram_joules + host_joules; }
};
// Submissions: one for each `host.batch_max` ops and for each `limits.va_bytes` of weights,
// whichever are more.
Result<CallEstimate> estimate_npu_call(const NpuProfile& profile, const Plan& plan,
                                       const EstimateCall& call);

// Submissions of a call, as above.
std::int64_t n_submissions(const NpuProfile& profile, const Plan& plan);

}  // namespace cria
