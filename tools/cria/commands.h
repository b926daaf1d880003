// The subcommands of `cria`. Each add_* function declares its flags; the command runs after parsing
// and gives the process's exit code: 0 done, 1 failed (one line on stderr says why), 2 wrong usage.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace cria::cli {

using Command = std::function<int()>;

// Each stores what to do in `selected` when its subcommand was given.
void add_run(CLI::App& app, Command& selected);
void add_chat(CLI::App& app, Command& selected);
void add_compile(CLI::App& app, Command& selected);
void add_inflate(CLI::App& app, Command& selected);
void add_inspect(CLI::App& app, Command& selected);
void add_tokenize(CLI::App& app, Command& selected);
void add_logits(CLI::App& app, Command& selected);
void add_eval(CLI::App& app, Command& selected);
void add_calibrate(CLI::App& app, Command& selected);
void add_bench(CLI::App& app, Command& selected);
void add_profile(CLI::App& app, Command& selected);
void add_devices(CLI::App& app, Command& selected);
void add_plan(CLI::App& app, Command& selected);
void add_simulate(CLI::App& app, Command& selected);

}  // namespace cria::cli
