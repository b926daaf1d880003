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

std::string json_text(const NpuSimulateReport& report) {
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
              {"minutes", report.minutes},
              {"n_context", report.n_context},
              {"tokens", report.tokens},
              {"tokens_per_second", report.tokens_per_second},
              {"first_tokens_per_second", report.first_tokens_per_second},
              {"last_tokens_per_second", report.last_tokens_per_second},
              {"joules_per_token", report.joules_per_token},
              {"npu_joules_per_token", report.npu_joules_per_token},
              {"npu_watts", report.npu_watts},
              {"prefill_tokens_per_second", report.prefill_tokens_per_second},
              {"first_token_ms", report.first_token_ms},
              {"points", points}}
             .dump(2, ' ', false, Json::error_handler_t::replace) +
         "\n";
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
};

int run(const Arguments& arguments) {
  const Result<NpuSimulateReport> report = simulate_on_npu(arguments.options, arguments.minutes);
  if (!report.ok()) return fail(report.status());
  if (!arguments.svg_path.empty()) {
    const Status written = write_text(arguments.svg_path, simulate_svg(*report));
    if (!written.ok()) return fail(written);
  }
  const Status status = write_stdout(arguments.json ? json_text(*report) : people_text(*report));
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
  command->add_option("--svg", arguments->svg_path, "also draw it to this file");
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli
