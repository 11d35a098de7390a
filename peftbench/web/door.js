// Shows on the page why a session ended; the reason is in the close event of its WebSocket.
(() => {
  const Before = window.WebSocket;
  window.WebSocket = class extends Before {
    constructor(...words) {
      super(...words);
      this.addEventListener("close", (event) => {
        const message = document.querySelector(".closed-dialog .message");
        if (message && event.reason) message.textContent = `Session ended: ${event.reason}`;
      });
    }
  };
})();
