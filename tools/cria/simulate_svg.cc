#include "simulate_svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace cria::cli {
namespace {

constexpr double kWidth = 720, kPanel = 170, kLeft = 60, kRight = 20, kTop = 46, kGap = 26;

struct Curve {
  const char* name;
  const char* colour;
  std::function<double(const NpuSimulatePoint&)> value;
};

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<')
      safe += "&lt;";
    else if (c == '&')
      safe += "&amp;";
    else
      safe += c;
  }
  return safe;
}

std::string label(double x, double y, const char* anchor, const std::string& text,
                  const char* colour = "#444") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" fill=\"{}\">{}</text>\n",
                     x, y, anchor, colour, escaped(text));
}

// One panel from 0 to a tenth above the largest value; at most 500 points a curve.
std::string panel(const NpuSimulateReport& report, double top, const std::vector<Curve>& curves,
                  const char* format) {
  double most = 0;
  for (const Curve& curve : curves) {
    for (const NpuSimulatePoint& point : report.points) most = std::max(most, curve.value(point));
  }
  most = most > 0 ? most * 1.1 : 1;
  const double seconds = report.points.back().seconds;
  const auto x = [&](double s) { return kLeft + (kWidth - kLeft - kRight) * s / seconds; };
  const auto y = [&](double value) { return top + kPanel * (1 - value / most); };
  std::string svg = fmt::format(
      "<rect x=\"{}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\" fill=\"#fafafa\" stroke=\"#ccc\"/>\n",
      kLeft, top, kWidth - kLeft - kRight, kPanel);
  for (int i = 0; i <= 4; ++i) {
    const double value = most * i / 4;
    svg += fmt::format("<path d=\"M{} {:.1f}H{}\" stroke=\"#e4e4e4\"/>\n", kLeft, y(value),
                       kWidth - kRight);
    svg += label(kLeft - 6, y(value) + 4, "end", fmt::format(fmt::runtime(format), value));
  }
  const std::size_t every = std::max<std::size_t>(1, report.points.size() / 500);
  double name_x = kLeft + 8;
  for (const Curve& curve : curves) {
    svg += fmt::format("<path fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" d=\"", curve.colour);
    for (std::size_t i = 0; i < report.points.size(); i += every) {
      svg += fmt::format("{}{:.1f} {:.1f}", i == 0 ? "M" : "L", x(report.points[i].seconds),
                         y(curve.value(report.points[i])));
    }
    svg += "\"/>\n" + label(name_x, top + kPanel - 8, "start", curve.name, curve.colour);
    name_x += 120;
  }
  return svg;
}

}  // namespace

std::string simulate_svg(const NpuSimulateReport& report) {
  const double height = kTop + 4 * kPanel + 3 * kGap + 34;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, height);
  svg += label(kLeft, 20, "start",
               fmt::format("{} on {}, {} tokens of context (simulated)", report.model,
                           report.device, report.n_context),
               "#111");
  svg +=
      panel(report, kTop,
            {{"tokens/s", "#1668b8", [](const auto& p) { return p.tokens_per_second; }}}, "{:.1f}");
  svg += panel(report, kTop + kPanel + kGap,
               {{"clock, MHz", "#6c4ab6", [](const auto& p) { return p.clock_mhz; }}}, "{:.0f}");
  svg += panel(report, kTop + 2 * (kPanel + kGap),
               {{"die C", "#c0392b", [](const auto& p) { return p.die_c; }},
                {"skin C", "#e08e0b", [](const auto& p) { return p.skin_c; }}},
               "{:.0f}");
  svg += panel(report, kTop + 3 * (kPanel + kGap),
               {{"mJ/token", "#2e7d4f", [](const auto& p) { return 1e3 * p.joules_per_token; }}},
               "{:.0f}");
  for (int i = 0; i <= 5; ++i) {
    const double minutes = report.points.back().seconds / 60 * i / 5;
    svg += label(kLeft + (kWidth - kLeft - kRight) * i / 5, height - 16, "middle",
                 fmt::format("{:.3g} min", minutes));
  }
  return svg + "</svg>\n";
}

}  // namespace cria::cli
