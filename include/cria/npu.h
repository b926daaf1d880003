// What a model would do on an NPU that is described by a profile, before a weight is read: where
// each op runs best, how fast, how hot, at how many joules a token. The model's shape is compiled
// for the device, and its commands are timed without arithmetic, event by event (docs/npu.md);
// docs/npu-validation.md says how far that is from measurements.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cria/status.h"

namespace cria {

struct NpuModelOptions {
  // A checkpoint of any kind, a program compiled for the CPU, or a shape without weights: "1b",
  // "3b", "1.1b".
  std::string model;
  std::string device = "sim:hexagon-v79";  // "sim:" and the name or path of a profile
  // Of checkpoints a recipe ("source": as stored, "q4"), of shapes an encoding for all matrices
  // ("q4c": 4 bits, one scale a row; the default of shapes), which others may follow for those
  // whose name contains a text: "q4c,token_embd=q8c".
  std::string quant;
  std::int64_t n_context = 512;  // tokens in the cache when a token is decoded
  std::int64_t n_prompt = 512;   // tokens of the prompt
  std::int64_t n_depth = 0;      // tokens before the prompt
  std::int64_t n_generate =
      128;  // tokens generated after it: how much decoding weighs beside the prompt
  std::string power_profile = "high_performance";
  std::string activations = "a8";          // "a8" (int8 blocks) or "a16" (float)
  std::string cache_type_k, cache_type_v;  // of checkpoints and shapes: "f16" (if empty) or "q8_0"
  std::int64_t prefill_chunk =
      0;  // tokens of a prefill call; 0: 64, or the prompt if it is shorter
  // Weights are not loaded ahead of the op that needs them: how a runtime works that calls one
  // kernel after the other.
  bool one_op_at_a_time = false;
  // How a runtime hands its work over: ops a submission, and submissions in flight (1: each is
  // waited for). 0: what the profile says.
  std::int64_t ops_per_submission = 0;
  std::int64_t queue_depth = 0;
  // Ops that must run on a device, by kind or name: {"attention", "npu"}.
  std::vector<std::pair<std::string, std::string>> pins;
};

// What an op costs on one device.
struct NpuOpCost {
  std::string device;  // "npu", "cpu"
  bool possible = true;
  double prefill_us = 0, decode_us = 0;  // of one call
  std::string
      bound;  // what a decode step of it waits for: "dma", "matrix", "vector", "host", "cpu"
  std::string reason;  // why it is not possible
};

struct NpuPlannedOp {
  std::string kind;  // "linear"
  std::string name;  // "blk.3.qkv"
  int layer = -1;
  std::string device;
  std::string reason;            // "pinned", "only there: ...", "cheapest", ...
  std::vector<NpuOpCost> costs;  // of both devices
};

// One call of a compiled method.
struct NpuCallReport {
  double ms = 0;
  double submit_ms = 0, complete_ms = 0;  // of it, handing over to the NPU, while no part runs
  double choose_ms = 0;                   // of it, the host's choice of a token from the logits
  double weight_bytes = 0, kv_bytes = 0, activation_bytes = 0;  // of DRAM, on the NPU
  std::uint64_t sram_bytes = 0;                                 // the most that is in use at a time
  std::int64_t n_commands = 0, n_submissions = 0;
  std::int64_t n_contexts = 0;  // address windows
  std::int64_t n_copies = 0;    // transfers that only move activations out of SRAM and back
};

struct NpuPlanReport {
  std::string model, device;
  std::vector<NpuPlannedOp> ops;
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;
  double first_token_ms = 0;        // of the prompt
  double joules_per_token = 0;      // decoded: devices, memory, host; no display
  double dram_bytes_per_token = 0;  // decoded
  double kv_bytes = 0;              // of the cache with `n_context` positions
  NpuCallReport prefill, decode;    // of the plan, compiled as it is placed
  std::uint64_t sram_peak_bytes = 0, sram_size_bytes = 0;  // the most of both; what the device has
  int handoffs_per_call = 0;                               // of a decode step, CPU to NPU or back
  double handoff_bytes_per_token = 0;
  double search_seconds = 0;  // candidates compiled and timed included
};

// kInvalidArgument, kNotFound: options. kUnsupported: an op that cannot be placed, and why.
Result<NpuPlanReport> plan_on_npu(const NpuModelOptions& options);

struct NpuSimulatePoint {
  double seconds = 0, tokens_per_second = 0, die_c = 0, skin_c = 0, joules_per_token = 0, watts = 0;
  std::string clock_state;
  double clock_mhz = 0;  // of the matrix engine
};

struct NpuSimulateReport {
  std::string model, device, power_profile;
  double minutes = 0;
  std::int64_t n_context = 0;
  double tokens = 0;
  double tokens_per_second = 0;        // over all
  double first_tokens_per_second = 0;  // before it is warm
  double last_tokens_per_second = 0;
  double joules_per_token = 0;      // with the display and the rest of the chip
  double npu_joules_per_token = 0;  // the NPU's own rail: multipliers, SRAM, static
  double npu_watts = 0;             // of it, on average
  // CPU seconds of the host's cores: one submits, one hears of the end, perhaps at once, and one
  // chooses the token.
  double host_seconds_per_token = 0;
  double prefill_tokens_per_second = 0;
  double first_token_ms = 0;
  std::vector<NpuSimulatePoint> points;  // one a second
};

// Decodes on the NPU alone for `minutes`, each token with `n_context` before it.
Result<NpuSimulateReport> simulate_on_npu(const NpuModelOptions& options, double minutes);

}  // namespace cria
