import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;

import org.opensearch.common.settings.Settings;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/**
 * A node of OpenSearch that only this machine can reach, for tests.
 *
 * <p>Arguments: a directory for its data, and a file to write the number of its HTTP port to once it
 * answers. It stops when its standard input ends, as it does when the test that started it is gone.
 */
public final class EngineNode extends Node {
  private EngineNode(Settings settings) {
    super(
        InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "test"),
        List.of(Netty4Plugin.class, MapperExtrasPlugin.class),
        false);
  }

  public static void main(String[] arguments) throws Exception {
    Settings settings =
        Settings.builder()
            .put("path.home", arguments[0])
            .put("node.name", "test")
            .put("cluster.name", "sparcode-tests")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", "0") // any that is free
            .put("transport.port", "0")
            .put("cluster.routing.allocation.disk.threshold_enabled", false) // a full disk is no matter of the test
            .build();
    try (EngineNode node = new EngineNode(settings)) {
      node.start();
      int port = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().getPort();
      Path portFile = Path.of(arguments[1]);
      Path temporary = Files.writeString(portFile.resolveSibling("port.unfinished"), Integer.toString(port));
      Files.move(temporary, portFile, StandardCopyOption.ATOMIC_MOVE);
      while (System.in.read() >= 0) {}
    }
  }
}
