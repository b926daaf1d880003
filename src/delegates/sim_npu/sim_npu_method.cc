#include "delegates/sim_npu/sim_npu_method.h"

#include <algorithm>

#include "format/npu_commands/npu_access.h"
#include "npu_sim/npu_sim.h"

namespace cria {
namespace {

constexpr std::int32_t kDtypes[] = {4, 4, 0, 0, 6};  // ExecuTorch ScalarType
constexpr std::size_t kAlignments[] = {8, 8, 2, kVectorAlignment, 4};
enum Argument : std::size_t { kTokens, kInputPos, kKvCache, kScratch, kLogits, kArgumentCount };
constexpr const char* kNames[] = {"tokens", "input_pos", "kv_cache", "scratch", "logits"};

bool aligned(const void* data, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % alignment == 0;
}

Status check_form(std::span<const cria_tensor> args) {
  if (args.size() != kArgumentCount) {
    return invalid_argument(
        "{} arguments, expected 5: tokens, input_pos, kv_cache, scratch, logits", args.size());
  }
  for (std::size_t i = 0; i < kArgumentCount; ++i) {
    if (args[i].dtype != kDtypes[i]) {
      return invalid_argument("{} has dtype {}, expected {}", kNames[i], args[i].dtype, kDtypes[i]);
    }
    if (!aligned(args[i].data, kAlignments[i])) {
      return invalid_argument("{} is not aligned to {} bytes", kNames[i], kAlignments[i]);
    }
  }
  return {};
}

}  // namespace

SimNpuMethod::SimNpuMethod(const cria_host& host, NpuCommands commands,
                           std::shared_ptr<SimNpuDevice> device, const SimNpuOptions& options)
    : host_(host),
      commands_(std::move(commands)),
      device_(std::move(device)),
      kernels_(kernels_for(options.isa)) {}

Result<std::unique_ptr<SimNpuMethod>> SimNpuMethod::create(const cria_host& host,
                                                           std::span<const std::byte> blob,
                                                           const SimNpuOptions& options) {
  CRIA_ASSIGN_OR_RETURN(NpuCommands commands, decode_npu_commands(blob, "NPU commands"));
  CRIA_ASSIGN_OR_RETURN(
      std::shared_ptr<SimNpuDevice> device,
      SimNpuDevice::of_profile(commands.profile_text, "profile " + commands.profile_name));
  const NpuProfile& profile = device->profile();
  if (!options.device.empty() && options.device != commands.profile_name) {
    return unsupported("compiled for {}, not for {}; compile the model again",
                       commands.profile_name, options.device);
  }
  if (profile.name != commands.profile_name || commands.sram_bytes > profile.sram.bytes ||
      commands.align_bytes % profile.limits.align_bytes != 0) {
    return unsupported(
        "commands for {} use {} bytes of SRAM in units of {}; {} has {} in units of {}",
        commands.profile_name, commands.sram_bytes, commands.align_bytes, profile.name,
        profile.sram.bytes, profile.limits.align_bytes);
  }
  std::unique_ptr<SimNpuMethod> method(
      new SimNpuMethod(host, std::move(commands), std::move(device), options));
  CRIA_RETURN_IF_ERROR(method->bind());
  return method;
}

Status SimNpuMethod::bind() {
  commands_.profile_text = std::string();  // the device has it, for all its methods
  for (const NpuWeight& w : commands_.weights) {
    cria_bytes data{};
    if (host_.get_named_data(host_.context, w.key.c_str(), &data) != 0) {
      return bad_input("weight '{}' is not in the program", w.key);
    }
    if (data.size_bytes != npu_weight_bytes(w)) {
      return bad_input("weight '{}', {} [{}, {}], has {} bytes, expected {}", w.key,
                       encoding_spec(w.encoding).name, w.n_rows, w.n_cols, data.size_bytes,
                       npu_weight_bytes(w));
    }
    if (!aligned(data.data, kVectorAlignment)) {
      return bad_input("weight '{}' does not start at a multiple of {} bytes", w.key,
                       kVectorAlignment);
    }
    weights_.emplace_back(static_cast<const std::byte*>(data.data), data.size_bytes);
    if (w.packed)
      panel_bytes_ = std::max<std::size_t>(panel_bytes_,
                                           npu_panel_bytes(w, w.tiles.strip_panels * kPanelRows));
  }
  for (const NpuCommand& c : commands_.commands) {
    if (c.kind == NpuCommandKind::kMatmul) {
      panel_bytes_ = std::max<std::size_t>(panel_bytes_,
                                           npu_panel_bytes(commands_.weights[c.weight], c.n_out));
    }
  }
  return device_->reserve(sram_bytes() + panel_bytes_);
}

Result<SimNpuCall> SimNpuMethod::check_arguments(std::span<const cria_tensor> args) const {
  CRIA_RETURN_IF_ERROR(check_form(args));
  SimNpuCall call;
  call.tokens = {static_cast<const std::int64_t*>(args[kTokens].data),
                 args[kTokens].size_bytes / sizeof(std::int64_t)};
  if (call.tokens.empty() || call.n_tokens() > commands_.max_tokens) {
    return invalid_argument("{} tokens, expected 1 to {}", call.tokens.size(),
                            commands_.max_tokens);
  }
  for (const std::int64_t id : call.tokens) {
    if (id < 0 || id >= commands_.n_vocab) {
      return invalid_argument("token {}, the vocabulary has {}", id, commands_.n_vocab);
    }
  }
  if (args[kInputPos].size_bytes != sizeof(std::int64_t))
    return invalid_argument("input_pos is not one int64");
  call.position = *static_cast<const std::int64_t*>(args[kInputPos].data);
  if (call.position < 0) return invalid_argument("position {} is negative", call.position);
  const std::uint64_t per_position = commands_.cache.bytes_per_position();
  if (per_position > 0) {
    const cria_tensor& kv = args[kKvCache];
    if (kv.rank != 2 || kv.sizes[1] != static_cast<std::int64_t>(per_position)) {
      return invalid_argument("kv_cache must be bytes [positions, {}]", per_position);
    }
    call.kv = static_cast<std::byte*>(kv.data);
    call.n_ctx = static_cast<std::int64_t>(kv.size_bytes / per_position);
    if (call.n_ctx % commands_.cache.granularity() != 0) {
      return invalid_argument("kv_cache has {} positions, expected a multiple of {}", call.n_ctx,
                              commands_.cache.granularity());
    }
    const std::int64_t most =
        commands_.max_context > 0 ? std::min(call.n_ctx, commands_.max_context) : call.n_ctx;
    if (call.n_tokens() > most || call.position > most - call.n_tokens()) {
      return out_of_resources(
          "{} tokens at position {}, the cache has {} positions, compiled for {}", call.n_tokens(),
          call.position, call.n_ctx, commands_.max_context);
    }
  }
  if (args[kScratch].size_bytes < commands_.scratch_bytes) {
    return invalid_argument("scratch has {} bytes, {} are needed", args[kScratch].size_bytes,
                            commands_.scratch_bytes);
  }
  call.scratch = static_cast<std::byte*>(args[kScratch].data);
  if (!commands_.gives_result) return call;
  const cria_tensor& logits = args[kLogits];
  const std::int64_t n_rows = commands_.single_row_result ? 1 : call.n_tokens();
  if (logits.rank != 3 || logits.sizes[0] != 1 || logits.sizes[1] < n_rows ||
      logits.sizes[2] != commands_.n_vocab) {
    return invalid_argument("logits must be float32 [1, {} or more, {}]", n_rows,
                            commands_.n_vocab);
  }
  call.logits = static_cast<float*>(logits.data);
  return call;
}

// Ops follow each other on the simulated clock, which all calls share.
Status SimNpuMethod::record(const SimNpuCall& call) {
  CRIA_ASSIGN_OR_RETURN(const NpuTiming timing, simulate_npu(commands_, device_->profile(),
                                                             {call.n_tokens(), call.position}));
  const auto to_ns = [](Picoseconds ps) { return static_cast<std::uint64_t>(ps) / 1000; };
  std::uint64_t at = clock_ns_ + to_ns(timing.submit_ps);
  for (const NpuOpTime& time : timing.ops) {
    const NpuOp& op = commands_.ops[time.op];
    cria_op_record record{};
    record.op = op.kind.c_str();
    record.name = op.name.c_str();
    record.layer = op.layer;
    record.n_tokens = static_cast<std::int32_t>(call.n_tokens());
    record.weight_bytes = time.work.bytes.weights;
    record.kv_bytes = time.work.bytes.cache;
    record.macs = time.work.macs;
    record.start_ns = at;
    record.end_ns = at += to_ns(time.elapsed_ps);
    host_.record_op(host_.context, &record);
  }
  clock_ns_ += to_ns(timing.elapsed_ps);
  return {};
}

Status SimNpuMethod::execute(std::span<cria_tensor> args) {
  CRIA_ASSIGN_OR_RETURN(const SimNpuCall call, check_arguments(args));
  CRIA_ASSIGN_OR_RETURN(const std::unique_ptr<SimNpuDevice::Memory> memory,
                        device_->borrow(sram_bytes() + panel_bytes_));
  sram_ = memory->data();
  panels_ = sram_ + sram_bytes();
  const NpuSchedule schedule = npu_schedule(commands_, call.n_tokens(), call.position);
  for (const NpuRun& r : schedule.runs) {
    const NpuCommand& command = commands_.commands[r.command];
    run({command, npu_rows(command, call.n_tokens()),
         npu_tile(command, r.iteration, call.n_tokens(), call.position)},
        call);
  }
  if (commands_.gives_result) {
    const std::int64_t n_rows = commands_.single_row_result ? 1 : call.n_tokens();
    args[kLogits].sizes[1] = n_rows;
    args[kLogits].size_bytes = static_cast<std::size_t>(n_rows * commands_.n_vocab) * sizeof(float);
  }
  return host_.record_op == nullptr ? Status() : record(call);
}

}  // namespace cria
