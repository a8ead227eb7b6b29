// All kernels, compiled for the CPU, and the launcher that runs them.
#include "emulator.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <vector>

uint3 threadIdx, blockIdx, blockDim, gridDim;
double emulator_hand[1024];

static EmulatorEntry* entries = nullptr;

EmulatorEntry::EmulatorEntry(const char* name, emulator_body body, bool together)
    : name(name), body(body), together(together), next(entries) {
  entries = this;
}

static const size_t STACK = 64 * 1024;

// A thread runs one block's share after the other. Its context is made once; from then on it is left and taken up again by
// jumps, which cost no calls of the system.
struct Thread {
  ucontext_t context;
  jmp_buf place;
  std::vector<char> stack;
  bool begun, ended;
};

static jmp_buf scheduler;
static std::vector<Thread*> threads;
static Thread* running = nullptr;
static emulator_body current_body;
static void** current_arguments;

static void leave() {
  if (_setjmp(running->place) == 0) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void take_up(Thread* thread) {
  running = thread;
  if (_setjmp(scheduler) != 0) return;
  if (thread->begun) _longjmp(thread->place, 1);
  thread->begun = true;
  setcontext(&thread->context);
}

void emulator_meet() {
  if (!running) {
    fprintf(stderr, "emulator: a kernel whose threads do not run together waits for the others\n");
    abort();
  }
  leave();
}

static void enter() {
  for (;;) {
    current_body(current_arguments);
    running->ended = true;
    leave();
  }
}

static Thread* new_thread() {
  Thread* thread = new Thread();
  thread->stack.resize(STACK);
  getcontext(&thread->context);
  thread->context.uc_stack.ss_sp = thread->stack.data();
  thread->context.uc_stack.ss_size = STACK;
  thread->context.uc_link = nullptr;
  makecontext(&thread->context, enter, 0);
  return thread;
}

static void run_block_together(unsigned count) {
  while (threads.size() < count) threads.push_back(new_thread());
  for (unsigned t = 0; t < count; t++) threads[t]->ended = false;
  for (unsigned ended = 0; ended < count;) {
    ended = 0;
    for (unsigned t = 0; t < count; t++) {
      threadIdx = {t, 0, 0};
      take_up(threads[t]);
      ended += threads[t]->ended;
    }
    running = nullptr;
    if (ended != 0 && ended != count) {
      fprintf(stderr, "emulator: %u of %u threads have ended while others wait for them\n", ended, count);
      abort();
    }
  }
}

// Runs a kernel; false if there is none of this name.
extern "C" bool nnunet_emulator_launch(const char* name, const unsigned* grid, unsigned block, void** arguments) {
  EmulatorEntry* entry = entries;
  while (entry && strcmp(entry->name, name) != 0) entry = entry->next;
  if (!entry) return false;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block, 1, 1};
  current_body = entry->body;
  current_arguments = arguments;
  for (unsigned z = 0; z < grid[2]; z++) {
    for (unsigned y = 0; y < grid[1]; y++) {
      for (unsigned x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        if (entry->together) {
          run_block_together(block);
          continue;
        }
        for (unsigned t = 0; t < block; t++) {
          threadIdx = {t, 0, 0};
          entry->body(arguments);
        }
      }
    }
  }
  return true;
}

#include "augment.cu"
#include "boxes.cu"
#include "columns.cu"
#include "layout.cu"
#include "loss.cu"
#include "norm.cu"
#include "optimiser.cu"
#include "sums.cu"
#include "window.cu"
