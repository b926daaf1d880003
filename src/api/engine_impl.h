// What an Engine and a KvCacheBuffer hold.
#pragma once

#include <memory>
#include <mutex>

#include "api/step_costs.h"
#include "cria/engine.h"
#include "llm/kv_cache.h"
#include "llm/program_model.h"

namespace cria {

class Engine::Impl {
 public:
  ModelInfo info;
  std::shared_ptr<const Program> program;
  std::unique_ptr<ProgramModel> model;
  StepCosts costs;
  std::mutex mutex;  // one forward at a time: the methods share one arena
};

class KvCacheBuffer::Impl {
 public:
  explicit Impl(KvCache owned) : cache(std::move(owned)) {}
  KvCache cache;
};

}  // namespace cria
