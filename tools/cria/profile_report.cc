#include "profile_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

// Ops that are told together, in the order of their first run.
struct Row {
  std::string method, delegate, op, name;
  std::int32_t layer = -1;
  ProfileSum sum;

  bool same_group(const Row& other) const {
    return op == other.op && name == other.name && layer == other.layer &&
           delegate == other.delegate && method == other.method;
  }
};

// "blk.3.attn_output.weight" of layer 3 -> "attn_output".
std::string role(const std::string& name, std::int32_t layer) {
  std::string text = name;
  const std::string in_layer = fmt::format(".{}.", layer);
  if (const std::size_t at = text.find(in_layer); layer >= 0 && at != std::string::npos) {
    text.erase(0, at + in_layer.size());
  }
  const std::string suffix = ".weight";
  if (text.ends_with(suffix)) text.resize(text.size() - suffix.size());
  return text;
}

enum class By { kOp, kLayer, kOpAndLayer };

Row key_of(const OpSample& sample, By by) {
  if (by == By::kLayer) return {.layer = sample.layer};
  Row row{*sample.method, *sample.delegate, *sample.op, role(*sample.name, sample.layer)};
  if (by == By::kOpAndLayer) row.layer = sample.layer;
  return row;
}

std::span<const OpSample> ops_of(const Profile& profile, const ForwardSample& forward) {
  return std::span(profile.ops).subspan(forward.first_op, forward.end_op - forward.first_op);
}

std::vector<Row> rows_of(const Profile& profile, const ProfilePhase& phase, By by) {
  std::vector<Row> rows;
  for (const ForwardSample& forward : phase.forwards) {
    for (const OpSample& sample : ops_of(profile, forward)) {
      const Row key = key_of(sample, by);
      auto found = std::find_if(rows.begin(), rows.end(),
                                [&key](const Row& row) { return row.same_group(key); });
      if (found == rows.end()) found = rows.insert(rows.end(), key);
      found->sum.add(sample);
    }
  }
  if (by == By::kLayer) {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.layer < b.layer; });
  }
  return rows;
}

// What a phase took as a whole.
struct Totals {
  std::uint64_t wall_ns = 0;
  std::int64_t n_tokens = 0;
  ProfileSum ops;

  double share(std::uint64_t ns) const {
    return wall_ns == 0 ? 0 : static_cast<double>(ns) / static_cast<double>(wall_ns);
  }
  double tokens_per_second() const {
    return wall_ns == 0 ? 0 : 1e9 * static_cast<double>(n_tokens) / static_cast<double>(wall_ns);
  }
  double unaccounted_share() const { return wall_ns == 0 ? 0 : 1 - share(ops.ns); }
};

Totals totals_of(const Profile& profile, const ProfilePhase& phase) {
  Totals totals;
  for (const ForwardSample& forward : phase.forwards) {
    totals.wall_ns += forward.end_ns - forward.start_ns;
    totals.n_tokens += forward.n_tokens;
    for (const OpSample& sample : ops_of(profile, forward)) totals.ops.add(sample);
  }
  return totals;
}

// "12.3", or a dash where there is nothing to count.
std::string rate_text(double rate) { return rate > 0 ? fmt::format("{:.2f}", rate) : "-"; }

std::string table_line(const std::string& title, const Row& row, const Totals& totals,
                       std::size_t n_forwards) {
  const double ms = static_cast<double>(row.sum.ns) / 1e6 / static_cast<double>(n_forwards);
  return fmt::format("| {:<36} | {:>6} | {:>10.3f} | {:>6.1f} % | {:>8} | {:>8} | {:<14} |\n",
                     title, row.sum.n_calls, ms, 100 * totals.share(row.sum.ns),
                     rate_text(row.sum.gb_per_second()), rate_text(row.sum.gmac_per_second()),
                     row.delegate);
}

std::string table_head(const char* title) {
  return fmt::format(
      "| {:<36} | {:>6} | {:>10} | {:>8} | {:>8} | {:>8} | {:<14} |\n"
      "| {:-<36} | {:->5}: | {:->9}: | {:->7}: | {:->7}: | {:->7}: | {:-<14} |\n",
      title, "calls", "ms/forward", "share", "GB/s", "GMAC/s", "delegate", "", "", "", "", "", "",
      "");
}

// A phase as it would be if nobody disturbed it: from the calls of each op that nobody did disturb.
struct Undisturbed {
  std::vector<Row> rows;
  Totals totals;
  double ns = 0;  // of all ops, in all forward calls; 0: some op was disturbed in every call

  double per_second(double n) const { return ns == 0 ? 0 : 1e9 * n / ns; }
  double tokens_per_second() const { return per_second(static_cast<double>(totals.n_tokens)); }
  double gb_per_second() const {
    return per_second(static_cast<double>(totals.ops.weight_bytes + totals.ops.kv_bytes)) / 1e9;
  }
  double gmac_per_second() const { return per_second(static_cast<double>(totals.ops.macs)) / 1e9; }
};

Undisturbed undisturbed_of(const Profile& profile, const ProfilePhase& phase) {
  Undisturbed out = {rows_of(profile, phase, By::kOp), totals_of(profile, phase)};
  for (const Row& row : out.rows) {
    if (row.sum.n_undisturbed == 0) {
      out.ns = 0;
      return out;
    }
    out.ns += row.sum.all_undisturbed_ns();
  }
  return out;
}

std::string undisturbed_text(const Profile& profile, const ProfilePhase& phase) {
  const auto n_forwards = static_cast<double>(phase.forwards.size());
  const Undisturbed all = undisturbed_of(profile, phase);
  std::string text = fmt::format(
      "Undisturbed by others, before and after: {} of {} calls (a core makes {:.1f} additions a "
      "nanosecond). ",
      all.totals.ops.n_undisturbed, all.totals.ops.n_calls, profile.additions_per_second / 1e9);
  if (all.ns == 0) return text + "Too few: some op was disturbed in every call.\n\n";
  text += fmt::format(
      "All calls like these: {:.3f} ms each, {:.2f} tokens/s, {:.2f} GB/s, {:.2f} GMAC/s\n\n",
      all.ns / 1e6 / n_forwards, all.tokens_per_second(), all.gb_per_second(),
      all.gmac_per_second());
  text += fmt::format(
      "| {:<36} | {:>11} | {:>10} | {:>10} |\n| {:-<36} | {:->10}: | {:->9}: | {:->9}: |\n", "op",
      "undisturbed", "of calls", "ms/forward", "", "", "", "");
  for (const Row& row : all.rows) {
    text += fmt::format("| {:<36} | {:>11} | {:>10} | {:>10.3f} |\n", row.op + " " + row.name,
                        row.sum.n_undisturbed, row.sum.n_calls,
                        row.sum.all_undisturbed_ns() / 1e6 / n_forwards);
  }
  return text + "\n";
}

std::string phase_text(const Profile& profile, const ProfilePhase& phase, bool layers) {
  const Totals totals = totals_of(profile, phase);
  const std::size_t n_forwards = phase.forwards.size();
  std::string text = fmt::format(
      "{}: {} x {} tokens at depth {}, {:.3f} ms each, {:.2f} tokens/s; {:.2f} % of it outside of "
      "ops (unaccounted)\n\n",
      phase.name, n_forwards, phase.forwards.front().n_tokens, phase.n_depth,
      static_cast<double>(totals.wall_ns) / 1e6 / static_cast<double>(n_forwards),
      totals.tokens_per_second(), 100 * totals.unaccounted_share());
  text += table_head("op");
  for (const Row& row : rows_of(profile, phase, By::kOp)) {
    text += table_line(row.op + " " + row.name, row, totals, n_forwards);
  }
  Row all;
  all.sum = totals.ops;
  text += table_line("all ops", all, totals, n_forwards) + "\n";
  if (profile.additions_per_second > 0) text += undisturbed_text(profile, phase);
  if (!layers) return text;
  text += table_head("layer");
  for (const Row& row : rows_of(profile, phase, By::kLayer)) {
    text += table_line(row.layer < 0 ? "none" : fmt::to_string(row.layer), row, totals, n_forwards);
  }
  return text + "\n";
}

Json sum_json(const ProfileSum& sum, const Totals& totals) {
  return {{"calls", sum.n_calls},
          {"ns", sum.ns},
          {"undisturbed_calls", sum.n_undisturbed},
          {"undisturbed_ns", sum.undisturbed_ns},
          {"share", totals.share(sum.ns)},
          {"weight_bytes", sum.weight_bytes},
          {"kv_bytes", sum.kv_bytes},
          {"macs", sum.macs},
          {"gb_per_second", sum.gb_per_second()},
          {"gmac_per_second", sum.gmac_per_second()}};
}

Json rows_json(const Profile& profile, const ProfilePhase& phase, By by) {
  const Totals totals = totals_of(profile, phase);
  Json list = Json::array();
  for (const Row& row : rows_of(profile, phase, by)) {
    Json json = Json::object();
    if (by != By::kLayer) {
      json = {
          {"op", row.op}, {"name", row.name}, {"method", row.method}, {"delegate", row.delegate}};
    }
    if (by != By::kOp) json["layer"] = row.layer;
    json.update(sum_json(row.sum, totals));
    list.push_back(std::move(json));
  }
  return list;
}

Json phase_json(const Profile& profile, const ProfilePhase& phase) {
  const Totals totals = totals_of(profile, phase);
  const Undisturbed undisturbed = undisturbed_of(profile, phase);
  return {{"phase", phase.name},
          {"n_depth", phase.n_depth},
          {"n_forwards", phase.forwards.size()},
          {"n_tokens", totals.n_tokens},
          {"wall_ns", totals.wall_ns},
          {"tokens_per_second", totals.tokens_per_second()},
          {"unaccounted_share", totals.unaccounted_share()},
          {"undisturbed_tokens_per_second", undisturbed.tokens_per_second()},
          {"undisturbed_gb_per_second", undisturbed.gb_per_second()},
          {"undisturbed_gmac_per_second", undisturbed.gmac_per_second()},
          {"total", sum_json(totals.ops, totals)},
          {"by_op", rows_json(profile, phase, By::kOp)},
          {"by_layer", rows_json(profile, phase, By::kLayer)},
          {"ops", rows_json(profile, phase, By::kOpAndLayer)}};
}

// A "complete" event; times are microseconds.
Json trace_event(const std::string& name, const std::string& category, std::uint64_t start_ns,
                 std::uint64_t end_ns) {
  return {{"name", name},
          {"cat", category},
          {"ph", "X"},
          {"ts", static_cast<double>(start_ns) / 1e3},
          {"dur", static_cast<double>(end_ns - start_ns) / 1e3},
          {"pid", 1},
          {"tid", 1}};
}

Json trace_event(const OpSample& sample, std::uint64_t origin_ns) {
  ProfileSum sum;
  sum.add(sample);
  const std::string name = sample.name->empty() ? *sample.op : *sample.op + " " + *sample.name;
  Json event =
      trace_event(name, *sample.delegate, sample.start_ns - origin_ns, sample.end_ns - origin_ns);
  event["args"] = {{"delegate", *sample.delegate},
                   {"method", *sample.method},
                   {"layer", sample.layer},
                   {"weight_bytes", sample.weight_bytes},
                   {"kv_bytes", sample.kv_bytes},
                   {"macs", sample.macs},
                   {"gb_per_second", sum.gb_per_second()},
                   {"gmac_per_second", sum.gmac_per_second()}};
  return event;
}

Json name_event(const char* what, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", 1}, {"tid", 1}, {"args", {{"name", name}}}};
}

// Paths may hold bytes that are not UTF-8.
std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

void Profile::add(const OpRecord& record, bool undisturbed) {
  ops.push_back({keep(record.method), keep(record.delegate), keep(record.op), keep(record.name),
                 record.layer, record.start_ns, record.end_ns, record.weight_bytes, record.kv_bytes,
                 record.macs, undisturbed});
}

const std::string* Profile::keep(std::string_view text) {
  auto found = texts_.find(text);
  if (found == texts_.end()) found = texts_.emplace(text).first;
  return &*found;
}

void ProfileSum::add(const OpSample& sample) {
  ++n_calls;
  ns += sample.end_ns - sample.start_ns;
  weight_bytes += sample.weight_bytes;
  kv_bytes += sample.kv_bytes;
  macs += sample.macs;
  if (!sample.undisturbed) return;
  ++n_undisturbed;
  undisturbed_ns += sample.end_ns - sample.start_ns;
}

double ProfileSum::all_undisturbed_ns() const {
  if (n_undisturbed == 0) return 0;
  return static_cast<double>(undisturbed_ns) / static_cast<double>(n_undisturbed) *
         static_cast<double>(n_calls);
}

// Bytes a nanosecond are gigabytes a second.
double ProfileSum::gb_per_second() const {
  return ns == 0 ? 0 : static_cast<double>(weight_bytes + kv_bytes) / static_cast<double>(ns);
}

double ProfileSum::gmac_per_second() const {
  return ns == 0 ? 0 : static_cast<double>(macs) / static_cast<double>(ns);
}

std::string profile_text(const Profile& profile, bool layers) {
  std::string text = fmt::format("{}, activations {}, {} threads\n\n", profile.model.description,
                                 profile.model.activations, profile.n_threads);
  for (const ProfilePhase& phase : profile.phases) text += phase_text(profile, phase, layers);
  return text;
}

std::string profile_json(const Profile& profile) {
  Json phases = Json::array();
  for (const ProfilePhase& phase : profile.phases) phases.push_back(phase_json(profile, phase));
  return json_text({{"model_filename", profile.model_path},
                    {"model_type", profile.model.description},
                    {"activations", profile.model.activations},
                    {"n_threads", profile.n_threads},
                    {"additions_per_second", profile.additions_per_second},
                    {"phases", phases}},
                   2);
}

std::string profile_trace(const Profile& profile) {
  std::uint64_t origin_ns = 0;
  if (!profile.phases.empty()) origin_ns = profile.phases.front().forwards.front().start_ns;
  Json events = {name_event("process_name", "cria " + profile.model.description),
                 name_event("thread_name", "forward")};
  for (const ProfilePhase& phase : profile.phases) {
    for (const ForwardSample& forward : phase.forwards) {
      events.push_back(trace_event(fmt::format("{} of {}", phase.name, forward.n_tokens), "forward",
                                   forward.start_ns - origin_ns, forward.end_ns - origin_ns));
      for (const OpSample& sample : ops_of(profile, forward)) {
        events.push_back(trace_event(sample, origin_ns));
      }
    }
  }
  return json_text({{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}, -1);
}

}  // namespace cria::cli
