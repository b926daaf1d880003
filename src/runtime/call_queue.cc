#include "runtime/call_queue.h"

#include <algorithm>

namespace cria {

CallQueue::CallQueue() : thread_([this] { work(); }) {}

CallQueue::~CallQueue() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool CallQueue::wait_for(std::unique_lock<std::mutex>& lock, const Call& call) {
  changed_.wait(lock, [&] {
    return failed_ || std::ranges::all_of(call.after, [this](std::size_t i) { return done_[i]; });
  });
  return !failed_;
}

void CallQueue::end(std::size_t index, Status status) {
  failed_ = failed_ || !status.ok();
  statuses_[index] = std::move(status);
  done_[index] = true;
  changed_.notify_all();
}

Status CallQueue::run(std::span<const Call> calls,
                      const std::function<Status(std::size_t)>& execute) {
  std::unique_lock lock(mutex_);
  calls_ = calls;
  execute_ = &execute;
  done_.assign(calls.size(), false);
  statuses_.assign(calls.size(), Status());
  n_submitted_ = next_ = 0;
  failed_ = false;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!calls[i].on_device) {
      if (!wait_for(lock, calls[i])) break;
      lock.unlock();
      Status status = execute(i);
      lock.lock();
      end(i, std::move(status));
    }
    n_submitted_ = i + 1;
    changed_.notify_all();
  }
  changed_.wait(lock, [this] {
    return !device_works_ && (failed_ || std::ranges::find(done_, false) == done_.end());
  });
  calls_ = {};
  n_submitted_ = 0;
  const auto bad = std::ranges::find_if(statuses_, [](const Status& s) { return !s.ok(); });
  return bad == statuses_.end() ? Status() : std::move(*bad);
}

// The device's thread.
void CallQueue::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stop_ || (!failed_ && next_ < n_submitted_); });
    if (stop_) return;
    const std::size_t index = next_++;
    if (!calls_[index].on_device) continue;
    device_works_ = true;
    if (wait_for(lock, calls_[index])) {
      const auto& execute = *execute_;
      lock.unlock();
      Status status = execute(index);
      lock.lock();
      end(index, std::move(status));
    }
    device_works_ = false;
    changed_.notify_all();
  }
}

}  // namespace cria
