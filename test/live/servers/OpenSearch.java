import java.util.concurrent.CountDownLatch;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * A cluster of one node on loopback: {@code OpenSearch FOLDER PORT [SETTING=VALUE]...}. What is in FOLDER already is used. Ends in order on
 * SIGTERM.
 */
public final class OpenSearch {
  private OpenSearch() {}

  public static void main(String[] args) throws Exception {
    OpenSearchRunner runner = new OpenSearchRunner();
    runner.onBuild((number, settings) -> {
      settings.put("network.host", "127.0.0.1");
      settings.put("http.port", args[1]);
      settings.put("discovery.type", "single-node");
      // How full the machine's disk is has nothing to do with the tests.
      settings.put("cluster.routing.allocation.disk.threshold_enabled", "false");
      for (int i = 2; i < args.length; i++) {
        String[] setting = args[i].split("=", 2);
        settings.put(setting[0], setting[1]);
      }
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      try {
        runner.close();
      } catch (Exception e) {
        e.printStackTrace();
      }
    }));
    runner.build(OpenSearchRunner.newConfigs().basePath(args[0]).clusterName("weir").numOfNode(1));
    new CountDownLatch(1).await();
  }
}
