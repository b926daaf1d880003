// What the ops of a plan cost on the processor beside an NPU, in closed form from the NPU's
// profile: the longer of its bytes and its multiply-adds, and the waking of the threads. What they
// cost on the NPU comes from their commands (npu_sim).
#pragma once

#include <cstdint>

#include "format/npu_profile/npu_profile.h"
#include "format/plan/plan.h"

namespace cria {

struct EstimateCall {
  std::int64_t n_tokens = 1;
  std::int64_t position = 0;  // tokens in the cache before them
};

// kLatency: waiting for one engine after the other.
enum class EstimateBound : std::uint8_t { kDma, kMatrix, kVector, kHost, kCpu, kLatency };
const char* estimate_bound_name(EstimateBound bound);  // "dma"

struct OpEstimate {
  double seconds = 0;
  EstimateBound bound = EstimateBound::kCpu;  // what most of the time goes to
  double dram_bytes = 0;
  double device_joules = 0;  // the processor's cores
  double dram_joules = 0;
};

OpEstimate estimate_cpu_op(const NpuProfile& profile, const Plan& plan, const PlanOp& op,
                           const EstimateCall& call);

// Passing from one to the other, through the memory that they share: the call alone.
double handoff_seconds(const NpuProfile& profile, bool to_npu);

}  // namespace cria
