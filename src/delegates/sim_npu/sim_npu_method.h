// One command stream, bound to its weights.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/result.h"
#include "cria/delegate.h"
#include "delegates/sim_npu/sim_npu_device.h"
#include "format/npu_commands/npu_schedule.h"
#include "kernels/kernels.h"

namespace cria {

struct SimNpuOptions {
  Isa isa = Isa::kGeneric;
  std::string device;  // the profile that the caller expects; empty: any
};

// One call, after its arguments were checked.
struct SimNpuCall {
  std::span<const std::int64_t> tokens;
  std::int64_t position = 0;
  std::byte* kv = nullptr;
  std::int64_t n_ctx = 0;
  std::byte* scratch = nullptr;
  float* logits = nullptr;
  std::int64_t n_tokens() const { return static_cast<std::int64_t>(tokens.size()); }
};

// A run of a command: what is left of it in this call.
struct SimNpuRun {
  const NpuCommand& command;
  std::int64_t n_rows = 0;
  NpuTile tile;
};

// Thread-safety: one execute() at a time.
class SimNpuMethod {
 public:
  // kBadInput: malformed commands, a profile that is none, weights that do not fit. kUnsupported:
  // another device, or more SRAM than the device has.
  static Result<std::unique_ptr<SimNpuMethod>> create(const cria_host& host,
                                                      std::span<const std::byte> blob,
                                                      const SimNpuOptions& options);
  Status execute(std::span<cria_tensor> args);

 private:
  SimNpuMethod(const cria_host& host, NpuCommands commands, std::shared_ptr<SimNpuDevice> device,
               const SimNpuOptions& options);
  Status bind();
  std::size_t sram_bytes() const { return align_up(commands_.sram_bytes, kVectorAlignment); }
  Result<SimNpuCall> check_arguments(std::span<const cria_tensor> args) const;
  Status record(const SimNpuCall& call);

  // sim_npu_run.cc
  void run(const SimNpuRun& run, const SimNpuCall& call);
  void transfer(const SimNpuRun& run, const SimNpuCall& call);
  void transfer_rows(const SimNpuRun& run, const SimNpuCall& call);
  void transfer_cache(const SimNpuRun& run, const SimNpuCall& call);
  void transfer_scores(const SimNpuRun& run, const SimNpuCall& call);
  void matmul(const SimNpuRun& run);
  void attend(const SimNpuRun& run, const SimNpuCall& call);
  void vector(const SimNpuRun& run, const SimNpuCall& call);
  void embed(const SimNpuRun& run, const SimNpuCall& call);
  void rope(const SimNpuRun& run);
  void rope_angles_of(const SimNpuRun& run, const SimNpuCall& call);
  void pack_cache(const SimNpuRun& run, const SimNpuCall& call);
  const std::byte* panels_of(const NpuWeight& weight, const std::byte* strips,
                             std::size_t size_bytes);
  std::byte* kv_head(const SimNpuCall& call, std::uint32_t layer, std::int64_t head,
                     bool is_value) const;
  std::byte* at(const NpuOperand& operand) {
    return sram_ + commands_.buffers[operand.buffer].offset_bytes + operand.offset;
  }
  float* floats(const NpuOperand& operand, std::int64_t row = 0) {
    return reinterpret_cast<float*>(at(operand) + static_cast<std::uint64_t>(row) * operand.stride);
  }

  cria_host host_;
  NpuCommands commands_;
  std::shared_ptr<SimNpuDevice> device_;
  const Kernels& kernels_;
  std::vector<std::span<const std::byte>> weights_;
  std::size_t panel_bytes_ = 1;  // the most that panels_ has
  std::uint64_t clock_ns_ = 0;   // simulated, of all calls
  // During a call:
  std::byte* sram_ = nullptr;
  std::byte* panels_ = nullptr;  // strips of one product, put back into panels
};

}  // namespace cria
