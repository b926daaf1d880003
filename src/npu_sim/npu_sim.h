// The time and energy that a simulated NPU takes for a stream of commands: no arithmetic on data,
// only on the clock.
//
// Event-driven and deterministic, in integer picoseconds. Each engine works through its commands in
// order; a command starts when the one before it on its engine is done, when those it names are
// done, and when the device has decoded its op. What runs at the same time shares: DMA channels the
// path to DRAM, vector and matrix the ports of SRAM.
//
//   transfer   latency (hidden behind earlier transfers while no more than `max_outstanding` are in
//   flight), then
//              bytes / (channel rate * efficiency(bytes of a row)); all channels together at most
//              the DRAM rate
//   product    start + preload + fill + ceil(M / tile_m) * ceil(N / tile_n) * ceil(K / tile_k) full
//   tiles, or the time to
//              read its weights and activations from SRAM, whichever is longer
//   vector     passes * start + heads that it sets up + vectors * cycles of the op's class /
//              contexts; slower while the matrix engine runs
//   host       submissions, each waiting for the end of the one `queue_depth` before it; one
//   decoding
//              an op; completion after the last, then the choice of a token from the logits
//
// While no engine works the device draws its idle power, else its static power.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "format/npu_commands/npu_commands.h"
#include "format/npu_profile/npu_profile.h"

namespace cria {

using Picoseconds = std::int64_t;
inline Picoseconds from_us(double us) { return static_cast<Picoseconds>(std::llround(us * 1e6)); }
constexpr double to_seconds(Picoseconds ps) { return static_cast<double>(ps) * 1e-12; }

// Two hours. What a profile makes longer is refused.
inline constexpr Picoseconds kMostCallPicoseconds = 7'200'000'000'000'000;

// One call of a method.
struct NpuCall {
  std::int64_t n_tokens = 1;
  std::int64_t position = 0;  // of the first token
};

struct NpuSimOptions {
  std::uint32_t clock_state = 0;  // index into the profile's states
  std::uint32_t batch = 0;        // ops a submission; 0: the profile's batch_max
  std::uint32_t queue_depth = 0;  // submissions in flight; 0: the profile's
  bool timeline = false;          // keep every command's times
  // Ops follow each other: no weight is loaded before the op before is done. Not what the commands
  // allow; it is how runtimes work that call one kernel after the other, and whose modules' times
  // add up.
  bool one_op_at_a_time = false;
};

struct NpuBytes {
  std::uint64_t weights = 0;      // read from DRAM
  std::uint64_t cache = 0;        // read and written
  std::uint64_t activations = 0;  // read and written, results included
  std::uint64_t sram = 0;         // read and written by all engines
  std::uint64_t dram() const { return weights + cache + activations; }
};

struct NpuJoules {
  double dram = 0, sram = 0, mac = 0, fixed = 0,
         host = 0;  // fixed: what the device draws while it is on
  double total() const { return dram + sram + mac + fixed + host; }
};

// What an op, or a call, spent most of its time on.
enum class NpuBound : std::uint8_t {
  kDma,
  kMatrix,
  kVector,
  kHost,
  kLatency
};  // kLatency: waiting for each other
const char* npu_bound_name(NpuBound bound);

struct NpuWork {
  std::array<Picoseconds, kNpuEngines> busy_ps{};  // by NpuEngine
  NpuBytes bytes;
  std::uint64_t macs = 0;         // that the result needs
  std::uint64_t padded_macs = 0;  // that the matrix engine does for them
  NpuJoules joules;
  void add(const NpuWork& more);
};

// One op of NpuCommands::ops.
struct NpuOpTime {
  std::uint32_t op = 0;
  Picoseconds start_ps = 0, end_ps = 0;  // of its first and last command
  Picoseconds elapsed_ps = 0;  // by which it put off the end of the call: adds up, over the ops and
                               // the host's three, to the total
  Picoseconds idle_ps = 0;     // of it, no engine worked: the host had not submitted the op yet
  NpuBound bound = NpuBound::kLatency;
  NpuWork work;
};

// Half of the time at least, else kLatency. kHost: the host, while no engine worked.
NpuBound npu_bound(const NpuWork& work, Picoseconds elapsed, Picoseconds on_host);

struct NpuEvent {
  std::uint32_t command = 0;
  std::uint32_t iteration = 0;
  Picoseconds start_ps = 0, end_ps = 0;
};

struct NpuTiming {
  Picoseconds elapsed_ps = 0;                  // from the host's call until the token is chosen
  Picoseconds submit_ps = 0, complete_ps = 0;  // of it, on the host
  Picoseconds choose_ps = 0;                   // of it, on the host: the token from the logits
  Picoseconds host_busy_ps = 0;                // of the host's cores: submissions, ends, the choice
  std::size_t n_submissions = 0;
  NpuBound bound = NpuBound::kLatency;
  NpuWork work;                // of all
  std::vector<NpuOpTime> ops;  // as NpuCommands::ops
  std::vector<NpuEvent> timeline;
  double seconds() const { return to_seconds(elapsed_ps); }
};

// The host's choice of a token from logits.
Picoseconds npu_choose_ps(const NpuProfile& profile, std::int64_t n_logits);

// REQUIRES: verified commands (decode_npu_commands), a call within their max_tokens.
// kInvalidArgument: a clock state that the profile lacks; ops out of their order where not all are
// submitted at once. kUnsupported: a call of over kMostCallPicoseconds; products in a mode that the
// profile lacks.
Result<NpuTiming> simulate_npu(const NpuCommands& commands, const NpuProfile& profile,
                               const NpuCall& call, const NpuSimOptions& options = {});

}  // namespace cria
