// What a compiled program says about itself: constant methods and the "metadata" JSON.
#pragma once

#include <string>
#include <vector>

#include "compile/compile.h"
#include "compile/methods.h"
#include "format/pte/program_builder.h"

namespace cria {

// The facts that both tell.
struct ProgramFacts {
  const Checkpoint& checkpoint;
  const CompileRequest& request;
  const Target& target;
  const ProgramMethods& program;
  std::int64_t max_context = 0;
  std::int64_t n_parameters = 0;
  std::uint64_t weight_bytes = 0;
};

// get_max_seq_len, get_vocab_size, ...: what runners of ExecuTorch's language models ask for, and
// cria's own. Begin and end tokens only if the checkpoint brings a vocabulary that has them.
std::vector<pte::ConstantMethod> constant_methods(const ProgramFacts& facts);

// JSON text, the same for the same facts; docs/pte.md lists the members.
std::string program_metadata(const ProgramFacts& facts);

}  // namespace cria
