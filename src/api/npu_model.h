// A model on a device with an NPU: its plans, the commands that they become, and the calls that are
// timed. Nothing reads a weight: commands depend on shapes alone.
#pragma once

#include <span>
#include <vector>

#include "api/model_plans.h"
#include "base/result.h"
#include "cria/npu.h"
#include "npu_plan/place.h"
#include "npu_sim/npu_sim.h"
#include "targets/sim_npu/lower_to_npu.h"

namespace cria {

struct NpuCalls {
  std::int64_t n_prefill = 1;
  NpuCall prefill;  // in the middle of the prompt
  NpuCall decode;
};

struct NpuModel {
  NpuProfile profile;
  ModelPlans plans;
  // By op of plans.prefill, the op of plans.decode that does the same. Heads that go in two groups
  // where a call brings several tokens go in one where it brings one.
  std::vector<std::size_t> decode_op_of_prefill;
  PlacePins pins;
  NpuLoweringOptions lowering;
  NpuSimOptions sim;
  NpuCalls calls;
};

// `name`: "high_performance", "balanced", "low_power"; kInvalidArgument: another.
Result<NpuPowerProfile> npu_power_profile(const NpuProfile& profile, const std::string& name);
// kInvalidArgument: numbers out of range; names that there are not.
Result<NpuSimOptions> npu_sim_options(const NpuProfile& profile, const NpuModelOptions& options);
// `most_rows`: of one prefill call. REQUIRES: options that npu_sim_options() takes.
NpuCalls npu_calls(const NpuModelOptions& options, std::int64_t most_rows);

// kInvalidArgument, kNotFound: options. kUnsupported: a program whose methods differ in their ops.
Result<NpuModel> open_npu_model(const NpuModelOptions& options);

// One call of a method whose ops run where `device` says (empty: all on the NPU). What runs
// on the NPU is compiled in parts (targets/split_plan.h), with what they share in memory of both.
// Ops of the processor take what estimate_cpu_op() says. Parts that do not wait for
// each other are at work at once (call_clock.h).
struct NpuCallTimes {
  double seconds = 0;
  double submit_seconds = 0, complete_seconds = 0;  // of it, handing over, while no part runs
  double choose_seconds = 0;                        // of it, the host's choice of a token
  double host_seconds = 0;  // a core at work for the NPU: all submissions, their ends, the choice
  std::vector<double> op_seconds;  // by op of the plan: by how much it put off the end of its part
  std::vector<EstimateBound> op_bound;
  NpuWork work;                  // of the NPU
  double cpu_joules = 0;         // of ops on the processor, and of its waking for submissions
  double dram_joules = 0;        // of both
  double dram_bytes = 0;         // of both
  std::uint64_t sram_bytes = 0;  // the most that one of the submissions uses
  std::size_t n_commands = 0, n_submissions = 0, n_contexts = 0;
  std::size_t n_copies = 0;  // transfers of activations other than results: to scratch and back
  // Of the NPU's own rail: multipliers, SRAM, static.
  double npu_joules() const { return work.joules.mac + work.joules.sram + work.joules.fixed; }
  double joules() const { return npu_joules() + dram_joules + cpu_joules; }
};

// `plan`: one of model.plans. kUnsupported: an op that the device cannot do, and why.
Result<NpuCallTimes> time_npu_call(const NpuModel& model, const Plan& plan, const NpuCall& call,
                                   std::span<const PlaceDevice> device = {});

// Of ops by themselves, between memory and memory: what placement knows of a plan that the device
// cannot take in whole. By op: seconds and bound, or why it cannot.
std::vector<Result<NpuCallTimes>> time_npu_ops(const NpuModel& model, const Plan& plan,
                                               const NpuCall& call);

}  // namespace cria
