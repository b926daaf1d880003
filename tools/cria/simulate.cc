// `cria simulate MODEL --device sim:X`: minutes of decoding on an NPU, its speed, heat and energy.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/npu.h"
#include "model_arguments.h"
#include "npu_arguments.h"
#include "simulate_svg.h"
#include "terminal.h"

namespace cria::cli {
namespace {

using Json = nlohmann::ordered_json;

Json report_json(const NpuSimulateReport& report) {
  Json points = Json::array();
  for (const NpuSimulatePoint& point : report.points) {
    points.push_back({{"seconds", point.seconds},
                      {"tokens_per_second", point.tokens_per_second},
                      {"die_c", point.die_c},
                      {"skin_c", point.skin_c},
                      {"clock_state", point.clock_state},
                      {"clock_mhz", point.clock_mhz},
                      {"joules_per_token", point.joules_per_token},
                      {"watts", point.watts}});
  }
  return Json{{"model", report.model},
              {"device", report.device},
              {"power_profile", report.power_profile},
              {"minutes", report.minutes},
              {"n_context", report.n_context},
              {"tokens", report.tokens},
              {"tokens_per_second", report.tokens_per_second},
              {"first_tokens_per_second", report.first_tokens_per_second},
              {"last_tokens_per_second", report.last_tokens_per_second},
              {"joules_per_token", report.joules_per_token},
              {"npu_joules_per_token", report.npu_joules_per_token},
              {"npu_watts", report.npu_watts},
              {"host_seconds_per_token", report.host_seconds_per_token},
              {"prefill_tokens_per_second", report.prefill_tokens_per_second},
              {"first_token_ms", report.first_token_ms},
              {"points", points}};
}

std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// A row for each power profile.
std::string table_text(const std::vector<NpuSimulateReport>& reports) {
  const NpuSimulateReport& first = reports.front();
  std::string text = fmt::format("{} on {}, {} tokens of context, {:g} minutes (simulated)\n\n",
                                 first.model, first.device, first.n_context, first.minutes);
  text += fmt::format(
      "| {:<16} | {:>11} | {:>10} | {:>13} | {:>12} | {:>6} | {:>12} | {:>12} | {:>6} |\n",
      "power profile", "tok/s first", "tok/s all", "prefill tok/s", "CPU ms/token", "NPU W",
      "NPU mJ/token", "all mJ/token", "die C");
  text += fmt::format(
      "| {:-<16} | {:->10}: | {:->9}: | {:->12}: | {:->11}: | {:->5}: | {:->11}: | {:->11}: | "
      "{:->5}: |\n",
      "", "", "", "", "", "", "", "", "");
  for (const NpuSimulateReport& r : reports) {
    double hottest = 0;
    for (const NpuSimulatePoint& p : r.points) hottest = std::max(hottest, p.die_c);
    text += fmt::format(
        "| {:<16} | {:>11.2f} | {:>10.2f} | {:>13.1f} | {:>12.3f} | {:>6.2f} | {:>12.1f} | "
        "{:>12.1f} | {:>6.1f} |\n",
        r.power_profile, r.first_tokens_per_second, r.tokens_per_second,
        r.prefill_tokens_per_second, 1e3 * r.host_seconds_per_token, r.npu_watts,
        1e3 * r.npu_joules_per_token, 1e3 * r.joules_per_token, hottest);
  }
  return text +
         "\nNPU: its own rail; all: with memory, host, display and what else is on; die: the "
         "hottest\n";
}

// Some twenty rows, and every change of the clock.
std::string people_text(const NpuSimulateReport& report) {
  std::string text = fmt::format("{} on {}, {} tokens of context (simulated)\n\n", report.model,
                                 report.device, report.n_context);
  text += fmt::format("{:>8} {:>9} {:>8} {:>8} {:<10} {:>9} {:>8}\n", "s", "tok/s", "die C",
                      "skin C", "clock", "mJ/token", "W");
  const std::size_t every = std::max<std::size_t>(1, report.points.size() / 20);
  std::string clock;
  for (std::size_t i = 0; i < report.points.size(); ++i) {
    const NpuSimulatePoint& p = report.points[i];
    if (i % every != 0 && i + 1 != report.points.size() && p.clock_state == clock) continue;
    clock = p.clock_state;
    text += fmt::format("{:>8.0f} {:>9.2f} {:>8.1f} {:>8.1f} {:<10} {:>9.1f} {:>8.2f}\n", p.seconds,
                        p.tokens_per_second, p.die_c, p.skin_c, p.clock_state,
                        1e3 * p.joules_per_token, p.watts);
  }
  text += fmt::format(
      "\n{:.0f} tokens in {:g} min: {:.2f} tok/s ({:.2f} at first, {:.2f} at the end), {:.1f} "
      "mJ/token with display and all; "
      "the NPU's own {:.1f} mJ/token, {:.2f} W\n",
      report.tokens, report.minutes, report.tokens_per_second, report.first_tokens_per_second,
      report.last_tokens_per_second, 1e3 * report.joules_per_token,
      1e3 * report.npu_joules_per_token, report.npu_watts);
  return text + fmt::format("prefill {:.1f} tok/s, first token after {:.1f} ms\n",
                            report.prefill_tokens_per_second, report.first_token_ms);
}

struct Arguments {
  NpuModelOptions options;
  double minutes = 10;
  bool json = false;
  std::string svg_path;
  std::vector<std::string> power_profiles{"high_performance"};
};

std::string reports_text(const Arguments& arguments,
                         const std::vector<NpuSimulateReport>& reports) {
  const bool one = reports.size() == 1;
  if (!arguments.json) return one ? people_text(reports.front()) : table_text(reports);
  if (one) return json_text(report_json(reports.front()));
  Json list = Json::array();
  for (const NpuSimulateReport& report : reports) list.push_back(report_json(report));
  return json_text(list);
}

int run(const Arguments& arguments) {
  std::vector<NpuSimulateReport> reports;
  for (const std::string& name : arguments.power_profiles) {
    NpuModelOptions options = arguments.options;
    options.power_profile = name;
    Result<NpuSimulateReport> report = simulate_on_npu(options, arguments.minutes);
    if (!report.ok()) return fail(report.status());
    reports.push_back(std::move(*report));
  }
  if (!arguments.svg_path.empty()) {
    const Status written = write_text(arguments.svg_path, simulate_svg(reports.front()));
    if (!written.ok()) return fail(written);
  }
  const Status status = write_stdout(reports_text(arguments, reports));
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void add_simulate(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "simulate", "minutes of decoding on an NPU: speed, temperature, joules a token");
  add_npu_arguments(*command, arguments->options);
  command->add_option("--minutes", arguments->minutes, "how long")->check(CLI::Range(0.01, 1440.0));
  command->add_flag("--json", arguments->json, "as JSON");
  command->add_option("--svg", arguments->svg_path,
                      "also draw it (the first power profile) to this file");
  command
      ->add_option("--power-profile", arguments->power_profiles,
                   "high_performance, balanced, low_power (comma separated: a table of them)")
      ->delimiter(',')
      ->check(power_profiles());
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli
