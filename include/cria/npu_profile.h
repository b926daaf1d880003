// Where the time of a model on a simulated NPU goes, op by op and layer by layer, in simulated
// time, and what changes would buy. Nothing is computed: commands are timed (docs/npu.md).
#pragma once

#include <string>
#include <vector>

#include "cria/npu.h"

namespace cria {

// An op, or several added up. Engines work at once, so their times are no parts of `us`.
struct NpuProfilePart {
  std::string kind;  // "linear"; of a layer: ""
  std::string name;  // "qkv" of all layers, "blk.3.qkv" of one
  int layer = -1;    // -1: of none, or of all
  int n_ops = 0;
  double us = 0;      // by which it put off the end of the call; adds up, with the host's
  double dma_us = 0;  // of the busier of both DMA queues
  double matrix_us = 0;
  double vector_us = 0;
  double host_us = 0;  // no engine worked: the host had not handed it over yet
  std::string bound;   // "dma", "matrix", "vector", "host"; "latency": none for half of the time
  double weight_bytes = 0, kv_bytes = 0, activation_bytes = 0;  // of DRAM
  double macs = 0;
  double millijoules = 0;
};

// A command at work.
struct NpuProfileEvent {
  std::string engine;  // "weight_dma", "data_dma", "matrix", "vector", "control"
  std::string name;    // "load_weight linear blk.3.qkv"
  double start_us = 0, end_us = 0;
};

// One call of a method.
struct NpuProfilePhase {
  std::string name;           // "prefill", "decode"
  std::int64_t n_tokens = 0;  // of the call
  std::int64_t position = 0;  // tokens before them
  double us = 0;
  double submit_us = 0, complete_us = 0, choose_us = 0;  // of it, the host
  double millijoules = 0;
  std::string bound;
  std::vector<NpuProfilePart> by_op;     // of all layers, in the order of their first
  std::vector<NpuProfilePart> by_layer;  // -1, then ascending
  std::vector<NpuProfilePart> ops;       // in order
  std::vector<NpuProfileEvent> events;   // where wanted
};

// The model with one thing changed.
struct NpuChange {
  std::string what;     // "encoding", "activations", "cache", "chunk", "placement"; "": nothing
  std::string change;   // "--quant q8c"
  std::string refused;  // why it cannot be; then there are no figures
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
  double joules_per_token = 0;  // decoded
  double weight_bytes = 0;      // that a decode step reads
};

struct NpuProfileReport {
  std::string model, device;
  std::vector<NpuProfilePhase> phases;
  std::vector<NpuChange> changes;  // the first: as it is
};

struct NpuProfileOptions {
  NpuModelOptions model;
  bool events = false;  // keep every command
  bool changes = true;  // try some
};

// All ops on the NPU. `model` may also be a program compiled for a simulated NPU, which brings its
// own profile and commands (`device` may be empty then); nothing can be changed in it.
// kInvalidArgument, kNotFound: options. kUnsupported: an op that the device cannot do, and why; a
// program for another device, or for several.
Result<NpuProfileReport> profile_on_npu(const NpuProfileOptions& options);

}  // namespace cria
