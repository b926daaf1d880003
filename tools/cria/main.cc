// cria: a Llama 3.2 checkpoint to tokens, from the command line.
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "commands.h"
#include "cria/version.h"

namespace {

const std::string kVersionLine = std::string("cria ") + cria::kVersion;

// llama.cpp's flags of several letters after one dash, which CLI11 would read as several flags.
std::vector<std::string> spell_out(int argc, char** argv) {
  const std::map<std::string, std::string> long_forms = {{"-pg", "--pg"},
                                                         {"-sys", "--system"},
                                                         {"-ctk", "--cache-type-k"},
                                                         {"-ctv", "--cache-type-v"},
                                                         {"-ub", "--ubatch-size"}};
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) {  // CLI11 takes them last first
    const auto found = long_forms.find(argv[i]);
    arguments.push_back(found == long_forms.end() ? argv[i] : found->second);
  }
  return arguments;
}

// CLI11 reports both wrong usage and --help by exceptions; the exit codes are ours.
int parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(spell_out(argc, argv));
    return -1;
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "cria: %s (see cria --help)\n", error.what());
    return 2;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"cria takes a Llama 3.2 checkpoint to tokens on a device"};
  app.set_version_flag("--version", kVersionLine);
  app.require_subcommand(1);
  cria::cli::Command selected;
  cria::cli::add_run(app, selected);
  cria::cli::add_chat(app, selected);
  cria::cli::add_compile(app, selected);
  cria::cli::add_inflate(app, selected);
  cria::cli::add_inspect(app, selected);
  cria::cli::add_tokenize(app, selected);
  cria::cli::add_logits(app, selected);
  cria::cli::add_eval(app, selected);
  cria::cli::add_calibrate(app, selected);
  cria::cli::add_bench(app, selected);
  cria::cli::add_profile(app, selected);
  cria::cli::add_devices(app, selected);
  cria::cli::add_plan(app, selected);
  cria::cli::add_simulate(app, selected);
  const int parsed = parse(app, argc, argv);
  if (parsed >= 0) return parsed;
  try {
    return selected();
  } catch (
      const std::exception& error) {  // out of memory in the standard library, not cria's errors
    std::fprintf(stderr, "cria: %s\n", error.what());
    return 1;
  }
}
