#include "npu_plan/place.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/quote.h"
#include "format/plan/plan_cost.h"

namespace cria {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr std::uint8_t kOnCpu = 1, kOnNpu = 2;

std::uint8_t bit_of(int device) { return device == 0 ? kOnCpu : kOnNpu; }

// Where the last op ran, where the cache of the current layer is, and who has each live buffer (a
// set of bits).
struct State {
  int device = 0;
  int cache = 0;
  std::vector<std::uint8_t> has;  // by live buffer, in the order of Search::live_
  auto operator<=>(const State&) const = default;
};

// The best way to a state, and its parts.
struct Way {
  double cost = kNever;
  double prefill = 0, decode = 0, bytes = 0;
  int handoffs = 0;
  std::size_t before = 0;  // index into the ways of the op before
  PlaceDevice device = PlaceDevice::kCpu;
};

// What uses a layer's cache goes where pins want one of it.
Status keep_caches_whole(const Plan& plan, std::vector<std::optional<PlaceDevice>>& devices) {
  std::map<std::int32_t, std::size_t> pinned;  // by layer, an op
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const PlanOp& op = plan.ops[i];
    if (!devices[i] || !plan_op_uses_cache(op)) continue;
    const std::size_t first = pinned.emplace(op.layer, i).first->second;
    if (devices[first] == devices[i]) continue;
    return invalid_argument(
        "--place: {} and {} of layer {} are on different devices; a layer's cache lies with one",
        plan_op_name(plan.ops[first].kind), plan_op_name(op.kind), op.layer);
  }
  for (std::size_t i = 0; i < devices.size(); ++i) {
    if (!plan_op_uses_cache(plan.ops[i])) continue;
    const auto found = pinned.find(plan.ops[i].layer);
    if (found != pinned.end()) devices[i] = devices[found->second];
  }
  return {};
}

class Search {
 public:
  Search(const Plan& plan, const PlaceProblem& problem) : plan_(plan), problem_(problem) {}

  Result<PlacedOps> run() {
    CRIA_RETURN_IF_ERROR(apply_pins());
    find_last_uses();
    std::vector<std::pair<State, Way>> now = {{State{}, Way{0, 0, 0, 0, 0, 0, PlaceDevice::kCpu}}};
    for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
      CRIA_ASSIGN_OR_RETURN(now, step(i, now));
      ways_.push_back({});
      for (const auto& [state, way] : now) ways_.back().push_back(way);
    }
    return finish(now);
  }

 private:
  Status apply_pins() {
    allowed_.assign(plan_.ops.size(), kOnCpu | kOnNpu);
    pinned_.assign(plan_.ops.size(), false);
    CRIA_ASSIGN_OR_RETURN(auto devices, pinned_devices(plan_, problem_.pins));
    for (std::size_t i = 0; i < devices.size(); ++i) pinned_[i] = devices[i].has_value();
    if (problem_.rest_on_npu) {
      CRIA_RETURN_IF_ERROR(keep_caches_whole(plan_, devices));
      // A cache lies with one device: where that cannot be the NPU, nothing there uses it.
      std::set<std::int32_t> elsewhere;  // layers
      for (std::size_t i = 0; i < devices.size(); ++i) {
        const PlanOp& op = plan_.ops[i];
        if (plan_op_uses_cache(op) && !npu_takes(i)) elsewhere.insert(op.layer);
      }
      for (std::size_t i = 0; i < devices.size(); ++i) {
        const PlanOp& op = plan_.ops[i];
        if (plan_op_uses_cache(op) && elsewhere.contains(op.layer)) continue;
        if (!devices[i] && npu_takes(i)) devices[i] = PlaceDevice::kNpu;
      }
    }
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (devices[i]) allowed_[i] = bit_of(static_cast<int>(*devices[i]));
    }
    return {};
  }

  bool npu_takes(std::size_t op) const {
    const PlaceCost& cost = problem_.costs[static_cast<int>(PlaceDevice::kNpu)][op];
    return cost.decode_seconds && cost.prefill_seconds;
  }

  void find_last_uses() {
    last_use_.assign(plan_.buffers.size(), 0);
    for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
      for (const std::uint32_t buffer : {plan_.ops[i].x, plan_.ops[i].y, plan_.ops[i].out})
        if (buffer != kNoBuffer) last_use_[buffer] = i;
    }
  }

  std::size_t live_index(std::uint32_t buffer) const {
    return static_cast<std::size_t>(std::ranges::find(live_, buffer) - live_.begin());
  }

  Result<std::vector<std::pair<State, Way>>> step(std::size_t i,
                                                  const std::vector<std::pair<State, Way>>& from) {
    const PlanOp& op = plan_.ops[i];
    if (op.out != kNoBuffer && live_index(op.out) == live_.size()) {
      live_.push_back(op.out);
      fresh_ = true;
    }
    std::map<State, Way> best;
    std::string why;
    for (int device = 0; device < 2; ++device) {
      const PlaceCost& cost = problem_.costs[device][i];
      if (!cost.decode_seconds || !cost.prefill_seconds) {
        why += fmt::format("{}{}: {}", why.empty() ? "" : "; ",
                           place_device_name(static_cast<PlaceDevice>(device)), cost.reason);
        continue;
      }
      if ((allowed_[i] & bit_of(device)) == 0) continue;
      for (std::size_t w = 0; w < from.size(); ++w) extend(i, device, w, from[w], best);
    }
    if (best.empty()) {
      return unsupported(
          "{} {} cannot be placed: {}", plan_op_name(op.kind), plan_op_label(plan_, op),
          why.empty() ? "its pins contradict each other (a layer's cache lies with one device)"
                      : why);
    }
    fresh_ = false;
    drop_dead(i, best);
    return std::vector<std::pair<State, Way>>(best.begin(), best.end());
  }

  void extend(std::size_t i, int device, std::size_t w, const std::pair<State, Way>& from,
              std::map<State, Way>& best) const {
    const PlanOp& op = plan_.ops[i];
    State state = from.first;
    Way way = from.second;
    if (plan_op_attends(op) && state.cache != device) return;
    if (op.kind == PlanOpKind::kKvAppend) state.cache = device;
    if (fresh_) state.has.push_back(0);
    const PlaceCost& cost = problem_.costs[device][i];
    way.prefill += *cost.prefill_seconds;
    way.decode += *cost.decode_seconds;
    if (state.device != device) add_handoff(device, way);
    for (const std::uint32_t buffer : plan_op_reads(plan_, op)) {
      std::uint8_t& has = state.has[live_index(buffer)];
      if (has == 0) continue;  // the first of those that write it column by column
      if ((has & bit_of(device)) == 0) pass(buffer, way);
      has |= bit_of(device);
    }
    if (op.out != kNoBuffer) state.has[live_index(op.out)] = bit_of(device);
    state.device = device;
    way.before = w;
    way.device = static_cast<PlaceDevice>(device);
    way.cost = problem_.n_prefill_calls * way.prefill + problem_.n_decode_steps * way.decode;
    Way& known = best[state];
    if (way.cost < known.cost) known = way;
  }

  void add_handoff(int to, Way& way) const {
    way.prefill += problem_.handoff_seconds[to];
    way.decode += problem_.handoff_seconds[to];
    ++way.handoffs;
  }

  void pass(std::uint32_t buffer, Way& way) const {
    const double row = static_cast<double>(plan_.buffers[buffer].width) * sizeof(float);
    const double rows = plan_.buffers[buffer].single_row ? 1 : problem_.prefill_tokens;
    way.decode += row / problem_.bytes_per_second;
    way.prefill += row * rows / problem_.bytes_per_second;
    way.bytes += row;
  }

  // Forgets who has the buffers that nothing needs any more: states that differ in them alone
  // become one.
  void drop_dead(std::size_t i, std::map<State, Way>& best) {
    std::vector<std::size_t> dead;
    for (std::size_t k = 0; k < live_.size(); ++k) {
      if (last_use_[live_[k]] <= i) dead.push_back(k);
    }
    if (dead.empty()) return;
    std::map<State, Way> merged;
    for (const auto& [state, way] : best) {
      State less = state;
      for (auto k = dead.rbegin(); k != dead.rend(); ++k)
        less.has.erase(less.has.begin() + static_cast<std::ptrdiff_t>(*k));
      Way& known = merged[less];
      if (way.cost < known.cost) known = way;
    }
    for (auto k = dead.rbegin(); k != dead.rend(); ++k)
      live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(*k));
    best = std::move(merged);
  }

  PlacedOps finish(std::vector<std::pair<State, Way>>& ends) const {
    std::size_t best = 0;
    for (std::size_t e = 0; e < ends.size(); ++e) {
      Way& way = ends[e].second;
      if (ends[e].first.device == 1) {
        add_handoff(0, way);
        way.cost = problem_.n_prefill_calls * way.prefill + problem_.n_decode_steps * way.decode;
      }
      if (way.cost < ends[best].second.cost) best = e;
    }
    const Way& end = ends[best].second;
    PlacedOps placed;
    placed.pinned = pinned_;
    placed.prefill_seconds = end.prefill;
    placed.decode_seconds = end.decode;
    placed.n_handoffs = end.handoffs;
    placed.handoff_bytes = end.bytes;
    placed.device.resize(plan_.ops.size());
    for (std::size_t i = plan_.ops.size(); i-- > 0;) {
      const Way& way = ways_[i][best];
      placed.device[i] = way.device;
      best = way.before;
    }
    return placed;
  }

  const Plan& plan_;
  const PlaceProblem& problem_;
  std::vector<std::uint8_t> allowed_;
  std::vector<bool> pinned_;
  std::vector<std::size_t> last_use_;   // by buffer: the op
  std::vector<std::uint32_t> live_;     // buffers that are still needed
  bool fresh_ = false;                  // the current op has made the last of them
  std::vector<std::vector<Way>> ways_;  // by op
};

}  // namespace

const char* place_device_name(PlaceDevice device) {
  return device == PlaceDevice::kCpu ? "cpu" : "npu";
}

Result<PlacePins> parse_pins(const std::vector<std::pair<std::string, std::string>>& pins) {
  PlacePins parsed;
  for (const auto& [op, device] : pins) {
    if (device != "npu" && device != "cpu")
      return invalid_argument("--place {}={}: expected npu or cpu", op, device);
    parsed.emplace_back(op, device == "npu" ? PlaceDevice::kNpu : PlaceDevice::kCpu);
  }
  return parsed;
}

Result<std::vector<std::optional<PlaceDevice>>> pinned_devices(const Plan& plan,
                                                               const PlacePins& pins) {
  std::vector<std::optional<PlaceDevice>> devices(plan.ops.size());
  for (const auto& [name, device] : pins) {
    bool found = false;
    for (std::size_t i = 0; i < plan.ops.size(); ++i) {
      const PlanOp& op = plan.ops[i];
      if (name != plan_op_name(op.kind) && name != plan_op_label(plan, op) &&
          !(name == "attention" && plan_op_attends(op))) {
        continue;
      }
      found = true;
      devices[i] = device;
    }
    if (!found)
      return invalid_argument(
          "--place {}: no op of this kind or name; kinds are embed, rms_norm, linear, rope, "
          "kv_append, attention (scores, softmax, mix), swiglu, add, mul, silu, last_row, output, "
          "hadamard",
          quote(name));
  }
  return devices;
}

bool pins_split_attention(const PlacePins& pins) {
  return std::ranges::any_of(pins, [](const auto& pin) {
    return pin.first == "scores" || pin.first == "softmax" || pin.first == "mix";
  });
}

Result<std::vector<bool>> place_by_pins(const Plan& plan, const PlacePins& pins) {
  CRIA_ASSIGN_OR_RETURN(auto devices, pinned_devices(plan, pins));
  CRIA_RETURN_IF_ERROR(keep_caches_whole(plan, devices));
  std::vector<bool> on_npu(plan.ops.size());
  for (std::size_t i = 0; i < on_npu.size(); ++i) {
    on_npu[i] = devices[i].value_or(PlaceDevice::kNpu) == PlaceDevice::kNpu;
    if (plan.ops[i].kind == PlanOpKind::kSoftmax && on_npu[i]) {
      return unsupported(
          "--place: softmax of layer {} is on the NPU, which has it as a part of attention only: "
          "softmax=cpu, or none of scores, softmax and mix",
          plan.ops[i].layer);
    }
  }
  return on_npu;
}

Result<PlacedOps> place_ops(const Plan& plan, const PlaceProblem& problem) {
  return Search(plan, problem).run();
}

}  // namespace cria
