#include "terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace cria::cli {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void on_interrupt(int) {
  if (g_interrupted != 0) _exit(130);
  g_interrupted = 1;
}

}  // namespace

int fail(const Status& status) {
  std::string message = status.message();
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  fmt::print(stderr, "cria: {}\n", message);
  return 1;
}

std::string format_bytes(std::uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (value >= 1e9) return fmt::format("{:.2f} GB", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.2f} MB", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.1f} KB", value / 1e3);
  return fmt::format("{} B", bytes);
}

std::string bytes_text(double bytes) { return format_bytes(static_cast<std::uint64_t>(bytes)); }

std::string format_seconds(double seconds) {
  return seconds < 1 ? fmt::format("{:.1f} ms", seconds * 1e3) : fmt::format("{:.2f} s", seconds);
}

bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::clear() {
  if (shown_percent_ >= 0) fmt::print(stderr, "\r\x1b[K");
  shown_percent_ = -1;
}

bool ProgressBar::update(std::string_view step, std::uint64_t done, std::uint64_t total) {
  constexpr int kWidth = 40;
  if (interrupted()) return false;
  if (!stderr_is_terminal()) return true;
  const auto now = std::chrono::steady_clock::now();
  if (step != step_) {
    clear();
    step_ = step;
    step_start_ = now;
  }
  if (done >= total) {
    clear();
    return true;
  }
  const int percent =
      static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total));
  if (now - step_start_ < std::chrono::seconds(1) || percent == shown_percent_) return true;
  shown_percent_ = percent;
  fmt::print(stderr, "\r{:<12} [{:<{}}] {:3}%", step_, std::string(kWidth * percent / 100, '='),
             kWidth, percent);
  std::fflush(stderr);
  return true;
}

Progress ProgressBar::callback() {
  return [this](std::string_view step, std::uint64_t done, std::uint64_t total) {
    return update(step, done, total);
  };
}

void catch_interrupt() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return g_interrupted != 0; }
void clear_interrupt() { g_interrupted = 0; }

Status write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
    return {};
  return Status(ErrorCode::kIo,
                fmt::format("cannot write to standard output: {}", std::strerror(errno)));
}

}  // namespace cria::cli
