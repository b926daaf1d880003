#include "npu_sim/npu_sim.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include "npu_sim/npu_cost.h"

namespace cria {
namespace {

constexpr Picoseconds kNever = std::numeric_limits<Picoseconds>::max();
// Speeds are in 1024ths, so that work stays a whole number.
constexpr std::int64_t kFullSpeed = 1024;

constexpr std::size_t index_of(NpuEngine engine) { return static_cast<std::size_t>(engine); }
constexpr bool is_dma(std::size_t engine) {
  return engine == index_of(NpuEngine::kWeightDma) || engine == index_of(NpuEngine::kDataDma);
}

// A run at work on its engine.
struct Active {
  std::uint32_t run = 0;
  Picoseconds ready_ps = 0;  // until then it waits out its fixed time
  std::int64_t left = 0;     // work, in 1024ths of a picosecond
};

class Simulation {
 public:
  Simulation(const NpuCommands& commands, const NpuProfile& profile, const NpuCall& call,
             const NpuSimOptions& options)
      : all_(commands),
        profile_(profile),
        call_(call),
        options_(options),
        costs_(commands, profile, options.clock_state) {}

  Result<NpuTiming> run() {
    // A device of static shapes works on all rows whatever the call brings.
    if (profile_.limits.static_shapes) call_.n_tokens = all_.max_tokens;
    schedule_ = npu_schedule(all_, call_.n_tokens, call_.position);
    CRIA_RETURN_IF_ERROR(prepare());
    plan_submissions();
    open_next_op();
    while (n_done_ < schedule_.runs.size()) {
      start_what_can();
      const Picoseconds next = next_event();
      if (next == kNever) {
        return invalid_argument(
            "op {} is never submitted: commands of later ops stand before its own", open_op_);
      }
      advance(next);
    }
    finish();
    return std::move(timing_);
  }

 private:
  Status prepare() {
    done_.assign(schedule_.runs.size(), kNever);
    start_.assign(schedule_.runs.size(), 0);
    cost_of_.resize(schedule_.runs.size());
    timing_.ops.resize(all_.ops.size());
    left_of_op_.assign(all_.ops.size(), 0);
    for (std::size_t i = 0; i < timing_.ops.size(); ++i)
      timing_.ops[i].op = static_cast<std::uint32_t>(i);
    Picoseconds all_ps = 0;
    for (std::uint32_t i = 0; i < schedule_.runs.size(); ++i) {
      const NpuCommand& command = command_of(i);
      const NpuRunShape shape = npu_run_shape(command, schedule_.runs[i].iteration, call_);
      CRIA_ASSIGN_OR_RETURN(cost_of_[i], costs_.of(command, shape));
      queue_[index_of(command.engine)].push_back(i);
      ++left_of_op_[command.op];
      all_ps += cost_of_[i].fixed_ps + cost_of_[i].work_ps;
      if (all_ps > kMostCallPicoseconds) {
        return unsupported("on {} a call of {} tokens would take over {} s; is the profile right?",
                           profile_.name, call_.n_tokens, kMostCallPicoseconds / 1'000'000'000'000);
      }
    }
    return {};
  }

  void plan_submissions() {
    batch_ = options_.batch != 0 ? options_.batch : std::max(1u, profile_.host.batch_max);
    timing_.submit_ps = from_us(profile_.host.submit_us);
    timing_.complete_ps = from_us(profile_.host.complete_us);
    if (all_.gives_result) {
      const std::int64_t n_rows = all_.single_row_result ? 1 : call_.n_tokens;
      timing_.choose_ps = npu_choose_ps(profile_, all_.n_vocab * n_rows);
    }
    timing_.n_submissions = (all_.ops.size() + batch_ - 1) / batch_;
    known_.assign(all_.ops.size(), kNever);
    submitted_.assign(timing_.n_submissions, 0);
    for (std::uint32_t i = 0; i < schedule_.runs.size(); ++i)
      ++submitted_[command_of(i).op / batch_];
    submit_what_can();
  }

  // Submissions follow each other on the host, decoding of ops on the device. One that would be
  // more than `queue_depth` in flight waits until the host has heard of the end of an earlier one.
  void submit_what_can() {
    const std::size_t depth =
        options_.queue_depth != 0 ? options_.queue_depth : std::max(1u, profile_.host.queue_depth);
    const Picoseconds decode = from_us(profile_.host.per_op_ns * 1e-3);
    for (; n_submitted_ < timing_.n_submissions && n_submitted_ < n_ended_ + depth;
         ++n_submitted_) {
      if (n_submitted_ >= depth) host_free_ = std::max(host_free_, now_ + timing_.complete_ps);
      host_free_ += timing_.submit_ps;
      const std::size_t end = std::min(all_.ops.size(), (n_submitted_ + 1) * batch_);
      for (std::size_t op = n_submitted_ * batch_; op < end; ++op) {
        decoded_ = std::max(decoded_, host_free_) + decode;
        known_[op] = decoded_;
      }
    }
  }

  // Submissions end in their order: engines work in the order of the list.
  void end_submissions() {
    while (n_ended_ < n_submitted_ && submitted_[n_ended_] == 0) {
      ++n_ended_;
      submit_what_can();
    }
  }

  const NpuCommand& command_of(std::uint32_t run) const {
    return all_.commands[schedule_.runs[run].command];
  }

  // The first op that is not done.
  void open_next_op() {
    while (open_op_ < left_of_op_.size() && left_of_op_[open_op_] == 0) ++open_op_;
  }

  // The time from which a run may start; kNever: something before it is not done.
  Picoseconds can_start(std::uint32_t run) const {
    if (options_.one_op_at_a_time && command_of(run).op > open_op_) return kNever;
    Picoseconds at = known_[command_of(run).op];
    for (const std::uint32_t before : schedule_.after_of(schedule_.runs[run])) {
      at = std::max(at, done_[before]);  // kNever, where that is not done
    }
    return at;
  }

  // One run at a time on an engine; transfers wait out their latency while others move, a limited
  // number of them.
  void start_what_can() {
    for (std::size_t e = 0; e < queue_.size(); ++e) {
      while (!queue_[e].empty() && may_begin(e)) {
        const std::uint32_t run = queue_[e].front();
        const Picoseconds at = can_start(run);
        if (at > now_) break;
        queue_[e].pop_front();
        start_[run] = now_;
        active_[e].push_back(
            {run, now_ + cost_of_[run].fixed_ps, cost_of_[run].work_ps * kFullSpeed});
      }
    }
  }
  bool may_begin(std::size_t engine) const {
    if (!is_dma(engine)) return active_[engine].empty();
    const std::size_t in_flight = active_[index_of(NpuEngine::kWeightDma)].size() +
                                  active_[index_of(NpuEngine::kDataDma)].size();
    return in_flight < std::max(1u, profile_.dma.max_outstanding);
  }

  bool moves(std::size_t engine) const {
    return !active_[engine].empty() && active_[engine].front().ready_ps <= now_;
  }

  // Of the first run of an engine, past its fixed time.
  std::int64_t speed(std::size_t engine) const {
    if (is_dma(engine)) {
      const bool both =
          moves(index_of(NpuEngine::kWeightDma)) && moves(index_of(NpuEngine::kDataDma));
      return both ? kFullSpeed / 2 : kFullSpeed;
    }
    if (engine == index_of(NpuEngine::kVector) && moves(index_of(NpuEngine::kMatrix))) {
      return std::max<std::int64_t>(1,
                                    std::llround(profile_.vector.share_beside_matrix * kFullSpeed));
    }
    return kFullSpeed;
  }

  // The next time at which anything changes.
  Picoseconds next_event() const {
    Picoseconds next = kNever;
    for (std::size_t e = 0; e < queue_.size(); ++e) {
      if (moves(e)) {
        const std::int64_t v = speed(e);
        next = std::min(next, now_ + (active_[e].front().left + v - 1) / v);
      } else if (!active_[e].empty()) {
        next = std::min(next, active_[e].front().ready_ps);
      }
      if (queue_[e].empty() || !may_begin(e)) continue;
      const Picoseconds at = can_start(queue_[e].front());
      if (at > now_) next = std::min(next, at);
    }
    return next;
  }

  void advance(Picoseconds to) {
    const Picoseconds dt = to - now_;
    // The first submission is no op's.
    const Picoseconds idle = to - std::max(now_, timing_.submit_ps);
    if (idle > 0 && std::ranges::all_of(active_, [](const auto& runs) { return runs.empty(); }))
      timing_.ops[open_op_].idle_ps += idle;
    std::array<std::int64_t, kNpuEngines> speeds{};
    for (std::size_t e = 0; e < queue_.size(); ++e) speeds[e] = moves(e) ? speed(e) : 0;
    now_ = to;
    for (std::size_t e = 0; e < queue_.size(); ++e) {
      if (active_[e].empty()) continue;
      Active& first = active_[e].front();
      first.left -= std::min(first.left, dt * speeds[e]);
      if (first.left == 0 && first.ready_ps <= now_) complete(e);
    }
  }

  void complete(std::size_t engine) {
    const std::uint32_t run = active_[engine].front().run;
    active_[engine].pop_front();
    done_[run] = now_;
    ++n_done_;
    --left_of_op_[command_of(run).op];
    open_next_op();
    --submitted_[command_of(run).op / batch_];
    end_submissions();
    // Only the first of the transfers in flight moves: it is busy from the end of the one before it
    // on.
    const Picoseconds since = std::max(start_[run], last_done_[engine]);
    last_done_[engine] = now_;
    account(run, now_ - since);
  }

  void account(std::uint32_t run, Picoseconds busy) {
    const NpuCommand& command = command_of(run);
    const NpuCost& cost = cost_of_[run];
    NpuOpTime& op = timing_.ops[command.op];
    if (op.end_ps == 0) op.start_ps = start_[run];
    op.start_ps = std::min(op.start_ps, start_[run]);
    op.end_ps = std::max(op.end_ps, now_);
    NpuWork work;
    work.busy_ps[index_of(command.engine)] = busy;
    work.bytes = cost.bytes;
    work.macs = cost.macs;
    work.padded_macs = cost.padded_macs;
    const double scale = profile_.state(options_.clock_state).energy_scale;
    work.joules.dram = static_cast<double>(cost.bytes.dram()) * profile_.dram.pj_per_byte * 1e-12;
    work.joules.sram =
        static_cast<double>(cost.bytes.sram) * profile_.energy.pj_per_sram_byte * scale * 1e-12;
    if (cost.mode) {
      work.joules.mac = static_cast<double>(cost.padded_macs) *
                        profile_.energy.pj_per_mac[static_cast<std::size_t>(*cost.mode)] * scale *
                        1e-12;
    }
    op.work.add(work);
    if (options_.timeline) {
      timing_.timeline.push_back(
          {schedule_.runs[run].command, schedule_.runs[run].iteration, now_ - busy, now_});
    }
  }

  double fixed_joules(Picoseconds elapsed, Picoseconds idle) const {
    const double static_watts =
        profile_.energy.static_mw * 1e-3 * profile_.state(options_.clock_state).energy_scale;
    return (static_watts * static_cast<double>(elapsed - idle) +
            profile_.energy.idle_mw * 1e-3 * static_cast<double>(idle)) *
           1e-12;
  }

  void finish() {
    Picoseconds frontier = timing_.submit_ps;
    for (NpuOpTime& op : timing_.ops) {
      op.elapsed_ps = std::max<Picoseconds>(0, op.end_ps - frontier);
      frontier = std::max(frontier, op.end_ps);
      op.bound = npu_bound(op.work, op.elapsed_ps, op.idle_ps);
    }
    timing_.elapsed_ps = frontier + timing_.complete_ps + timing_.choose_ps;
    for (NpuOpTime& op : timing_.ops) {
      op.work.joules.fixed = fixed_joules(op.elapsed_ps, op.idle_ps);
      timing_.work.add(op.work);
    }
    const Picoseconds on_host = timing_.submit_ps + timing_.complete_ps + timing_.choose_ps;
    timing_.host_busy_ps = static_cast<Picoseconds>(timing_.n_submissions) *
                               (timing_.submit_ps + timing_.complete_ps) +
                           timing_.choose_ps;
    timing_.work.joules.host =
        profile_.host.active_mw * 1e-3 * static_cast<double>(timing_.host_busy_ps) * 1e-12;
    timing_.work.joules.fixed += fixed_joules(on_host, on_host);
    timing_.bound = npu_bound(timing_.work, timing_.elapsed_ps, on_host);
  }

  const NpuCommands& all_;
  const NpuProfile& profile_;
  NpuCall call_;
  const NpuSimOptions& options_;
  const NpuCosts costs_;
  NpuSchedule schedule_;
  std::vector<NpuCost> cost_of_;  // by run
  std::vector<Picoseconds> start_, done_;
  std::vector<Picoseconds> known_;                            // by op
  std::array<std::deque<std::uint32_t>, kNpuEngines> queue_;  // runs that have not begun
  std::array<std::deque<Active>, kNpuEngines> active_;
  std::array<Picoseconds, kNpuEngines> last_done_{};
  Picoseconds now_ = 0;
  std::size_t n_done_ = 0;
  std::vector<std::uint32_t> left_of_op_;  // runs
  std::size_t open_op_ = 0;
  std::size_t batch_ = 1;                 // ops a submission
  std::vector<std::uint32_t> submitted_;  // by submission: runs that are not done
  std::size_t n_submitted_ = 0, n_ended_ = 0;
  Picoseconds host_free_ = 0, decoded_ = 0;
  NpuTiming timing_;
};

}  // namespace

const char* npu_bound_name(NpuBound bound) {
  static constexpr const char* kNames[] = {"dma", "matrix", "vector", "host", "latency"};
  return kNames[static_cast<int>(bound)];
}

Picoseconds npu_choose_ps(const NpuProfile& profile, std::int64_t n_logits) {
  return from_us(profile.host.ns_per_logit * 1e-3 * static_cast<double>(n_logits));
}

NpuBound npu_bound(const NpuWork& work, Picoseconds elapsed, Picoseconds on_host) {
  if (2 * on_host > elapsed) return NpuBound::kHost;
  const Picoseconds dma = std::max(work.busy_ps[index_of(NpuEngine::kWeightDma)],
                                   work.busy_ps[index_of(NpuEngine::kDataDma)]);
  const Picoseconds matrix = work.busy_ps[index_of(NpuEngine::kMatrix)];
  const Picoseconds vector = work.busy_ps[index_of(NpuEngine::kVector)];
  const Picoseconds most = std::max({dma, matrix, vector});
  if (2 * most < elapsed) return NpuBound::kLatency;
  if (most == dma) return NpuBound::kDma;
  return most == matrix ? NpuBound::kMatrix : NpuBound::kVector;
}

void NpuWork::add(const NpuWork& more) {
  for (std::size_t e = 0; e < busy_ps.size(); ++e) busy_ps[e] += more.busy_ps[e];
  bytes.weights += more.bytes.weights;
  bytes.cache += more.bytes.cache;
  bytes.activations += more.bytes.activations;
  bytes.sram += more.bytes.sram;
  macs += more.macs;
  padded_macs += more.padded_macs;
  joules.dram += more.joules.dram;
  joules.sram += more.joules.sram;
  joules.mac += more.joules.mac;
  joules.fixed += more.joules.fixed;
  joules.host += more.joules.host;
}

Result<NpuTiming> simulate_npu(const NpuCommands& commands, const NpuProfile& profile,
                               const NpuCall& call, const NpuSimOptions& options) {
  if (options.clock_state >= profile.clock.states.size()) {
    return invalid_argument("clock state {}, {} has {}", options.clock_state, profile.name,
                            profile.clock.states.size());
  }
  return Simulation(commands, profile, call, options).run();
}

}  // namespace cria
