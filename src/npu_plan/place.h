// Where each op of a plan runs best: on the NPU or on the processor beside it.
//
// An exact search: dynamic programming along the list of ops. The state is where the last op ran
// and which of the two has each buffer that is still needed; so it knows the residual stream that
// waits beside attention, too. One map holds for all methods, because weights lie in the order of
// the device that reads them, once; so an op's cost is that of the given prefill calls and decode
// steps together. The cache of a layer lies with the device that attends to it: what appends to it
// runs there. Both ends of a call are on the processor: the tokens come from it, it samples from
// the logits.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "npu_plan/estimate.h"

namespace cria {

enum class PlaceDevice : std::uint8_t { kCpu = 0, kNpu = 1 };
const char* place_device_name(PlaceDevice device);  // "cpu", "npu"

// What an op costs on a device; nullopt seconds: it cannot run there, and why.
struct PlaceCost {
  std::optional<double> prefill_seconds, decode_seconds;  // of one call
  EstimateBound prefill_bound = EstimateBound::kCpu, decode_bound = EstimateBound::kCpu;
  std::string reason;  // that it cannot
};

// Ops by name or kind that must run on a device: {"attention", kNpu}, {"blk.3.qkv", kCpu}.
using PlacePins = std::vector<std::pair<std::string, PlaceDevice>>;

struct PlaceProblem {
  double n_prefill_calls = 1;
  double n_decode_steps = 1;
  double handoff_seconds[2] = {0, 0};  // to the CPU, to the NPU; of one call
  double bytes_per_second = 1e9;       // of buffers that pass from one to the other
  double prefill_tokens = 1;           // of one call
  std::vector<PlaceCost> costs[2];     // by device, then op
  PlacePins pins;
  // What no pin names runs on the NPU where it can; what uses a layer's cache where pins want one
  // of it (place_by_pins).
  bool rest_on_npu = false;
};

struct PlacedOps {
  std::vector<PlaceDevice> device;  // by op
  std::vector<bool> pinned;
  double prefill_seconds = 0;  // of one call, handoffs included
  double decode_seconds = 0;
  int n_handoffs = 0;        // of a decode step
  double handoff_bytes = 0;  // activations that pass in a decode step
};

// {"softmax", "cpu"}, ... kInvalidArgument: another device than npu or cpu.
Result<PlacePins> parse_pins(const std::vector<std::pair<std::string, std::string>>& pins);

// By op, where pins want it: "attention" is also scores and mix, where attention is in three ops. A
// later pin wins. kInvalidArgument: a pin that names no op.
Result<std::vector<std::optional<PlaceDevice>>> pinned_devices(const Plan& plan,
                                                               const PlacePins& pins);
// Whether pins need attention in three ops.
bool pins_split_attention(const PlacePins& pins);

// By op, whether it runs on the NPU: all do but those that pins want on the processor. What uses a
// layer's cache goes where pins want one of it. kInvalidArgument also: pins that part what uses a
// layer's cache. kUnsupported: a softmax by itself on the NPU.
Result<std::vector<bool>> place_by_pins(const Plan& plan, const PlacePins& pins);

// kInvalidArgument: a pin that names no op; with rest_on_npu, those of place_by_pins. kUnsupported:
// an op that neither device takes, or a pin to a device that cannot, naming op and reason.
Result<PlacedOps> place_ops(const Plan& plan, const PlaceProblem& problem);

}  // namespace cria
